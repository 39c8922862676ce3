#!/usr/bin/env bash
# Takes one trend through the whole life of a content, against a running server, with curl alone.
# It stops at the first unexpected answer.
#
#   ORION_URL             where the server is (http://127.0.0.1:8000)
#   ORION_ADMIN_EMAIL     the admin's e-mail (admin@orion.local)
#   ORION_ADMIN_PASSWORD  the admin's password, as the server printed it on its first start
set -euo pipefail

url=${ORION_URL:-http://127.0.0.1:8000}
admin_email=${ORION_ADMIN_EMAIL:-admin@orion.local}
admin_password=${ORION_ADMIN_PASSWORD:?set it to the password that the server printed on its first start}
for tool in curl jq; do
  command -v "$tool" >/dev/null || { echo "walkthrough: $tool is missing" >&2; exit 2; }
done

token=""

say() { printf '\n== %s\n' "$*"; }

# graphql QUERY [VARIABLES]: prints the data, or stops with the errors.
graphql() {
  local headers=(-H 'content-type: application/json') answer
  if [ -n "$token" ]; then headers+=(-H "authorization: Bearer $token"); fi
  answer=$(jq -n --arg query "$1" --argjson variables "${2:-{\}}" '{query: $query, variables: $variables}' |
    curl -sS --fail-with-body --max-time 30 "${headers[@]}" --data-binary @- "$url/graphql")
  if [ "$(jq '(.errors // []) + [.data[]? | objects | .errors // [] | .[]] | length' <<<"$answer")" != 0 ]; then
    printf 'walkthrough: unexpected answer to\n%s\n%s\n' "$1" "$(jq . <<<"$answer")" >&2
    return 1
  fi
  jq .data <<<"$answer"
}

# mutate FIELD INPUT SELECTION: runs a mutation whose input type is named after it.
mutate() {
  local type="${1^}Input"
  graphql "mutation (\$input: $type!) { $1(input: \$input) { position projected errors { code message field } $3 } }" \
    "{\"input\": $2}" | jq ".$1"
}

expect() { # WHAT FOUND WANTED
  if [ "$2" != "$3" ]; then
    echo "walkthrough: $1 is $2, not $3" >&2
    exit 1
  fi
}

say "the server is ready"
curl -sS --fail --max-time 10 "$url/health/ready" | jq -c .

say "register a person, who may only read at first"
email="ada.$(date +%s%N)@example.org"
person=$(mutate register "{\"email\": \"$email\", \"password\": \"correct horse battery\", \"name\": \"Ada\"}" \
  'accessToken user { id role }')
jq -c .user <<<"$person"
user_id=$(jq -r .user.id <<<"$person")

say "the admin makes her an editor"
token=""
token=$(graphql 'mutation ($input: LoginInput!) { login(input: $input) { accessToken errors { code message } } }' \
  "$(jq -n --arg email "$admin_email" --arg password "$admin_password" '{input: {email: $email, password: $password}}')" |
  jq -r .login.accessToken)
admin_token=$token
mutate changeRole "{\"userId\": \"$user_id\", \"role\": \"EDITOR\"}" 'user { name role }' | jq -c .user

say "she signs in"
token=""
token=$(mutate login "{\"email\": \"$email\", \"password\": \"correct horse battery\"}" 'accessToken' | jq -r .accessToken)
editor_token=$token

say "detect a trend"
trend=$(mutate detectTrend '{"topic": "Rust in space", "source": "rss", "score": 0.87, "rawData": {"rank": 1}}' \
  'trend { id topic source score status }')
jq -c .trend <<<"$trend"
trend_id=$(jq -r .trend.id <<<"$trend")

say "draft a content from it"
content=$(mutate draftContent "{\"trendId\": \"$trend_id\", \"title\": \"Why satellites run Rust\"}" 'content { id status version }')
jq -c .content <<<"$content"
content_id=$(jq -r .content.id <<<"$content")

say "start the generation"
mutate startGeneration "{\"contentId\": \"$content_id\"}" \
  'content { status pipelineRuns { edges { node { stage status } } } }' | jq -c '.content | {status, runs: [.pipelineRuns.edges[].node]}'

start_stage() { # STAGE: prints the run's id
  mutate startStage "{\"contentId\": \"$content_id\", \"stage\": \"$1\"}" 'pipelineRun { id status }' | jq -r .pipelineRun.id
}
complete_stage() { # RUN
  mutate completeStage "{\"runId\": \"$1\"}" 'pipelineRun { stage status }' | jq -c .pipelineRun
}
attach() { # TYPE PROVIDER PATH METADATA
  mutate attachMediaAsset \
    "{\"contentId\": \"$content_id\", \"assetType\": \"$1\", \"provider\": \"$2\", \"filePath\": \"$3\", \"metadata\": $4}" \
    'mediaAsset { assetType filePath }' | jq -c .mediaAsset
}

say "stage script"
run=$(start_stage script)
mutate writeScript "{\"contentId\": \"$content_id\", \"scriptBody\": \"Scene 1: a rocket.\", \"hook\": \"Rust never sleeps\", \"visualPrompts\": [\"a rocket at dawn\"]}" \
  'content { hook }' | jq -c .content
complete_stage "$run"
say "stage images"
run=$(start_stage images)
attach IMAGE comfyui /media/rocket.png '{"width": 1080, "height": 1920}'
complete_stage "$run"
say "stage audio"
run=$(start_stage audio)
attach AUDIO elevenlabs /media/voice.mp3 '{"seconds": 31.5}'
complete_stage "$run"
say "stage video"
run=$(start_stage video)
attach VIDEO ffmpeg /media/final.mp4 '{"seconds": 32}'
complete_stage "$run"

say "submit for review"
mutate submitForReview "{\"contentId\": \"$content_id\"}" 'content { status }' | jq -c .content

say "the admin approves"
token=$admin_token
mutate approveContent "{\"contentId\": \"$content_id\"}" 'content { status }' | jq -c .content

say "connect a social account"
token=$editor_token
account=$(mutate connectSocialAccount '{"platform": "youtube", "displayName": "Orion Shorts", "credentials": "a-refresh-token"}' \
  'socialAccount { id platform displayName isActive }')
jq -c .socialAccount <<<"$account"
account_id=$(jq -r .socialAccount.id <<<"$account")

say "publish"
publish_id=$(mutate publishContent "{\"contentId\": \"$content_id\", \"socialAccountId\": \"$account_id\"}" 'publishId' | jq -r .publishId)
result=$(mutate recordPublished "{\"publishId\": \"$publish_id\", \"platformPostId\": \"yt-42\"}" \
  'publishRecord { status platformPostId }')
jq -c .publishRecord <<<"$result"

say "the content is published soon after"
for _ in $(seq 50); do
  status=$(graphql 'query ($id: ID!) { content(id: $id) { status } }' "{\"id\": \"$content_id\"}" | jq -r .content.status)
  [ "$status" = PUBLISHED ] && break
  sleep 0.1
done
expect "the content's status" "$status" PUBLISHED

say "the content with everything nested"
nested=$(graphql 'query ($id: ID!) {
  content(id: $id) {
    title status hook scriptBody version
    trend { topic score status }
    createdBy { name role }
    mediaAssets { totalCount edges { node { assetType provider filePath metadata } } }
    pipelineRuns { totalCount edges { node { stage status } } }
    publishRecords { edges { node { platform platformPostId status socialAccount { displayName } } } }
  }
}' "{\"id\": \"$content_id\"}")
jq . <<<"$nested"
expect "the number of media assets" "$(jq .content.mediaAssets.totalCount <<<"$nested")" 3
expect "the number of completed runs" "$(jq '[.content.pipelineRuns.edges[].node | select(.status == "COMPLETED")] | length' <<<"$nested")" 4
expect "the record's status" "$(jq -r '.content.publishRecords.edges[0].node.status' <<<"$nested")" PUBLISHED

say "the last events of the log"
token=$admin_token
graphql '{ events(last: 6) { edges { node { position eventType aggregateId sequence recordedAt } } } }' |
  jq -r '.events.edges[].node | [.position, .eventType, "\(.aggregateId)/\(.sequence)", .recordedAt] | @tsv' |
  column -t -s $'\t'

say "done"
