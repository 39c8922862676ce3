//! Which media types a client sends and takes, by RFC 9110.

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};

/// What an answer is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`: for clients from before the draft, whom only 200 tells that it was we who
    /// answered.
    Json,
    /// `application/graphql-response+json`: the status says what became of the request.
    GraphqlResponse,
    /// `text/event-stream`: a stream of answers, each an event.
    EventStream,
}

impl Media {
    /// In the order in which one is taken whose client does not mind.
    const ALL: [Self; 3] = [Self::Json, Self::GraphqlResponse, Self::EventStream];

    /// As `Content-Type` has it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::EventStream => "text/event-stream",
        }
    }

    fn name(self) -> &'static str {
        self.content_type().split(';').next().unwrap_or_default()
    }

    /// How closely a range names this type: 2 by itself, 1 by a wildcard, nothing if it does not.
    fn named_by(self, range: &str) -> Option<u8> {
        let is_json = self != Self::EventStream;
        match range {
            "*/*" | "application/*" if is_json => Some(1),
            _ => range.eq_ignore_ascii_case(self.name()).then_some(2),
        }
    }
}

/// What a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What it likes best.
    pub media: Media,
    /// True if it takes a stream at all.
    pub streams: bool,
}

impl Accepted {
    /// Nothing if the client takes nothing that there is. Who says nothing gets `application/json`: the
    /// draft leaves it to the server, and clients that say nothing are old.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(ACCEPT).iter().map(|line| line.to_str().unwrap_or_default());
        let ranges: Vec<Range> =
            lines.flat_map(|line| line.split(',')).filter_map(Range::parse).collect();
        if ranges.is_empty() {
            let says_nothing = headers.get_all(ACCEPT).iter().all(HeaderValue::is_empty);
            return says_nothing.then_some(Self { media: Media::Json, streams: false });
        }
        let weighed = Media::ALL.map(|media| (media, weight(media, &ranges)));
        let taken = weighed.into_iter().filter_map(|(media, weight)| Some((media, weight?)));
        // The heaviest; of equals the one that was named first.
        let best = taken.clone().min_by_key(|(_, (weight, place))| (1_000 - weight, *place))?;
        let streams = taken.into_iter().any(|(media, _)| media == Media::EventStream);
        Some(Self { media: best.0, streams })
    }
}

/// One item of `Accept`.
struct Range<'a> {
    name: &'a str,
    /// In thousandths.
    weight: u16,
}

impl<'a> Range<'a> {
    /// Nothing for what cannot be read, and for an encoding that is not ours.
    fn parse(item: &'a str) -> Option<Self> {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().filter(|name| name.contains('/'))?;
        let mut weight = 1_000;
        for parameter in parts {
            let (key, value) = parameter.split_once('=')?;
            if key.eq_ignore_ascii_case("q") {
                weight = thousandths(value)?;
            } else if !is_utf8(key, value) {
                return None;
            }
        }
        Some(Self { name, weight })
    }
}

/// How much a client likes a type, and where it says so; nothing if it does not take it.
fn weight(media: Media, ranges: &[Range]) -> Option<(u16, usize)> {
    let named = ranges.iter().enumerate().filter_map(|(place, range)| {
        media.named_by(range.name).map(|closeness| (closeness, place, range.weight))
    });
    // The closest name counts; of equals the first.
    let (_, place, weight) =
        named.max_by_key(|(closeness, place, _)| (*closeness, usize::MAX - place))?;
    (weight > 0).then_some((weight, place))
}

/// `0` to `1` with at most three digits after the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: u16 = format!("{digits:0<3}").parse().ok()?;
    match (whole, digits) {
        ("0", _) => Some(digits),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

/// False for a `charset` that is another one; other parameters say nothing to us.
fn is_utf8(key: &str, value: &str) -> bool {
    !key.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
}

/// True if a body is JSON in UTF-8 by its own word. All else a page of another site can send without
/// asking first.
pub fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    is_json && parts.filter_map(|part| part.split_once('=')).all(|(key, value)| is_utf8(key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &str) -> Option<Media> {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        Accepted::of(&headers).map(|accepted| accepted.media)
    }

    #[test]
    fn who_does_not_mind_gets_json() {
        assert_eq!(Accepted::of(&HeaderMap::new()).unwrap().media, Media::Json);
        for accept in ["", "*/*", "application/*", "text/html, */*;q=0.1"] {
            assert_eq!(accepted(accept), Some(Media::Json), "{accept}");
        }
    }

    #[test]
    fn the_best_liked_type_is_taken() {
        for (accept, expected) in [
            ("application/json", Media::Json),
            ("Application/GraphQL-Response+JSON", Media::GraphqlResponse),
            ("application/graphql-response+json, application/json;q=0.9", Media::GraphqlResponse),
            ("application/graphql-response+json;q=0.5, application/json", Media::Json),
            ("application/graphql-response+json, */*", Media::GraphqlResponse),
            ("*/*, application/graphql-response+json", Media::Json),
            ("application/json;q=0.1, */*;q=0.5", Media::GraphqlResponse),
            ("application/graphql-response+json;q=0, */*", Media::Json),
            ("application/json; charset=\"UTF-8\"", Media::Json),
            ("text/event-stream", Media::EventStream),
            ("text/event-stream, application/json", Media::EventStream),
            ("application/json, text/event-stream", Media::Json),
        ] {
            assert_eq!(accepted(accept), Some(expected), "{accept}");
        }
        let takes_both = "application/json, multipart/mixed, text/event-stream";
        let headers = HeaderMap::from_iter([(ACCEPT, takes_both.parse().unwrap())]);
        assert!(Accepted::of(&headers).unwrap().streams);
    }

    #[test]
    fn what_there_is_not_is_not_taken() {
        for accept in [
            "text/html",
            "text/*",
            "image/png, application/xml;q=0.9",
            "application/json;q=0",
            "application/json;q=2",
            "application/json;q=x",
            "application/json; charset=iso-8859-1",
            "json",
        ] {
            assert_eq!(accepted(accept), None, "{accept}");
        }
    }

    #[test]
    fn a_body_says_that_it_is_json() {
        let is_json =
            |kind: &str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]));
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/json;"] {
            assert!(is_json(kind), "{kind}");
        }
        for kind in [
            "",
            "text/plain; application/json",
            "application/json; charset=utf-16",
            "application/jsonp",
        ] {
            assert!(!is_json(kind), "{kind}");
        }
    }
}
