// A page to try Orion's GraphQL in. It asks nobody but the server that it came from, keeps nothing when it
// is closed, and writes what it gets as text, never as HTML.

const $ = (id) => document.getElementById(id);

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const EXAMPLES = `# Sign in above, put the cursor into an operation, and press Ctrl-Enter.

query Me {
  me { id name email role }
}

query Newest($first: Int = 5) {
  contents(first: $first) {
    totalCount
    nodes { id title status trend { topic } }
    pageInfo { hasNextPage endCursor }
  }
}

mutation Detect($input: DetectTrendInput = { topic: "tiny houses", source: "explorer", score: 0.7 }) {
  detectTrend(input: $input) {
    position
    projected
    trend { id topic score }
    errors { code message field }
  }
}

# Runs until it is stopped. With a position below it resumes after that event.
subscription Trends($after: Position) {
  trendChanged(after: $after) {
    position
    eventType
    trend { id topic score }
  }
}
`;

// --- Documents -----------------------------------------------------------------------------------------

const tabs = [{ name: "Examples", text: EXAMPLES, variables: "" }];
let current = 0;

const keep = () => Object.assign(tabs[current], { text: $("document").value, variables: $("variables").value });

const show = (index) => {
  current = index;
  $("document").value = tabs[index].text;
  $("variables").value = tabs[index].variables;
  $("tabs").replaceChildren(...tabs.map((tab, at) => {
    const button = element("button", { type: "button", textContent: tab.name });
    button.setAttribute("aria-current", String(at === index));
    button.addEventListener("click", () => { keep(); show(at); });
    return button;
  }));
  listOperations();
};

// The operations of a document, where each begins. Comments and texts are blanked out first.
const operationsOf = (text) => {
  const blank = (found) => found.replace(/[^\n]/g, " ");
  const bare = text.replace(/"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|#[^\n]*/g, blank);
  const found = [];
  let depth = 0;
  for (const token of bare.matchAll(/[{}()]|\b(query|mutation|subscription|fragment)\b(?:\s+(\w+))?/g)) {
    if ("{(".includes(token[0])) {
      if (depth === 0 && token[0] === "{" && !found.some((one) => one.isOpen)) {
        found.push({ kind: "query", name: null, start: token.index, isOpen: true });
      }
      depth += 1;
    } else if ("})".includes(token[0])) {
      depth -= 1;
      if (depth === 0 && token[0] === "}") found.forEach((one) => { one.isOpen = false; });
    } else if (depth === 0) {
      found.push({ kind: token[1], name: token[2] ?? null, start: token.index, isOpen: true });
    }
  }
  found.forEach((one, at) => { one.text = bare.slice(one.start, found[at + 1]?.start); });
  return found.filter((one) => one.kind !== "fragment");
};

let operations = [];

const listOperations = () => {
  operations = operationsOf($("document").value);
  const cursor = $("document").selectionStart;
  const at = operations.findLastIndex((one) => one.start <= cursor);
  $("operation").replaceChildren(...operations.map((one, index) =>
    element("option", { value: index, textContent: `${one.kind} ${one.name ?? ""}` })));
  if (operations.length > 0) $("operation").value = Math.max(at, 0);
};

// --- Answers -------------------------------------------------------------------------------------------

const say = (text, isFailed = false) => {
  $("status").textContent = text;
  $("status").className = isFailed ? "failed" : "";
};

const json = (id) => {
  const text = $(id).value.trim();
  const value = text === "" ? {} : JSON.parse(text);
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error("it is not an object");
  return value;
};

const headers = () => new Headers(json("headers"));

const post = async (body) => {
  const sent = headers();
  sent.set("content-type", "application/json");
  sent.set("accept", "application/graphql-response+json, application/json;q=0.9");
  const answer = await fetch("/graphql", { method: "POST", headers: sent, body: JSON.stringify(body) });
  const text = await answer.text();
  try {
    return { status: answer.status, body: JSON.parse(text) };
  } catch {
    return { status: answer.status, body: text };
  }
};

const run = async () => {
  stop();
  const operation = operations[$("operation").value];
  if (!operation) return say("there is no operation", true);
  let variables;
  try {
    variables = json("variables");
    headers();
  } catch (error) {
    return say(`variables and headers are JSON objects: ${error.message}`, true);
  }
  const body = { query: $("document").value, variables };
  if (operation.name) body.operationName = operation.name;
  if (operation.kind === "subscription") return subscribe(operation, body);
  $("live").hidden = true;
  $("answer").hidden = false;
  say("…");
  const began = performance.now();
  try {
    const { status, body: answer } = await post(body);
    const isText = typeof answer === "string";
    $("answer").textContent = isText ? answer : JSON.stringify(answer, null, 2);
    say(`${status} in ${Math.round(performance.now() - began)} ms`, status >= 400 || Boolean(answer.errors));
  } catch (error) {
    say(`no answer: ${error.message}`, true);
  }
};

// --- Subscriptions: graphql-transport-ws ---------------------------------------------------------------

const MESSAGES_MAX = 500;
let socket = null;

const stop = () => {
  socket?.close(1000);
  socket = null;
  $("stop").hidden = true;
};

const subscribe = (operation, body) => {
  const after = $("after").value.trim();
  if (after !== "" && /\$after\b/.test(operation.text)) body.variables.after = after;
  $("answer").hidden = true;
  $("live").hidden = false;
  $("live").replaceChildren();
  $("stop").hidden = false;
  say("connecting…");
  const address = new URL("/graphql", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const opened = new WebSocket(address, "graphql-transport-ws");
  socket = opened;
  let count = 0;
  const send = (message) => opened.send(JSON.stringify(message));
  const list = (value, isFailed) => {
    const line = element("li", { textContent: JSON.stringify(value, null, 2), className: isFailed ? "failed" : "" });
    $("live").prepend(line);
    if ($("live").children.length > MESSAGES_MAX) $("live").lastChild.remove();
  };
  opened.addEventListener("open", () => {
    const authorization = headers().get("authorization");
    send({ type: "connection_init", payload: authorization ? { authorization } : {} });
  });
  opened.addEventListener("message", ({ data }) => {
    if (socket !== opened) return;
    const message = JSON.parse(data);
    switch (message.type) {
      case "connection_ack":
        send({ id: "1", type: "subscribe", payload: body });
        say(`listening since position ${message.payload?.position ?? "?"}`);
        break;
      case "ping":
        send({ type: "pong" });
        break;
      case "next": {
        count += 1;
        const positions = Object.values(message.payload.data ?? {}).map((change) => change?.position);
        const position = positions.find((found) => found !== undefined);
        if (position !== undefined) $("after").value = position;
        list(message.payload, Boolean(message.payload.errors));
        say(`${count} messages${position === undefined ? "" : `, position ${position}`}`);
        break;
      }
      case "error":
        list(message.payload, true);
        say("the subscription has failed", true);
        break;
      case "complete":
        say(`complete after ${count} messages`);
        stop();
        break;
    }
  });
  opened.addEventListener("close", ({ code, reason }) => {
    if (socket !== opened) return;
    say(`closed: ${code} ${reason}`, true);
    stop();
  });
};

// --- Sign-in -------------------------------------------------------------------------------------------

const LOG_IN = `mutation LogIn($input: LoginInput!) {
  login(input: $input) { accessToken user { name role } errors { message } }
}`;

const signIn = async (event) => {
  event.preventDefault();
  const input = { email: $("email").value, password: $("password").value };
  $("password").value = "";
  try {
    const { body } = await post({ query: LOG_IN, variables: { input }, operationName: "LogIn" });
    const answer = body.data?.login;
    const problem = body.errors?.[0] ?? answer?.errors?.[0];
    if (problem || !answer?.accessToken) {
      $("who").textContent = problem?.message ?? "this did not work";
      return;
    }
    const kept = json("headers");
    for (const name of Object.keys(kept)) if (name.toLowerCase() === "authorization") delete kept[name];
    $("headers").value = JSON.stringify({ ...kept, authorization: `Bearer ${answer.accessToken}` }, null, 2);
    $("who").textContent = answer.user ? `${answer.user.name ?? ""} (${answer.user.role})` : "signed in";
  } catch (error) {
    $("who").textContent = `no answer: ${error.message}`;
  }
};

// --- The schema, by introspection ----------------------------------------------------------------------

const TYPE = "name kind ofType { name kind ofType { name kind ofType { name kind } } }";
const VALUE = `name description defaultValue type { ${TYPE} }`;
const INTROSPECT = `query Schema { __schema {
  queryType { name } mutationType { name } subscriptionType { name }
  types { name kind description
    fields { name description args { ${VALUE} } type { ${TYPE} } }
    inputFields { ${VALUE} }
    enumValues { name description } } } }`;

let types = [];

const written = (type) => {
  if (type.kind === "NON_NULL") return `${written(type.ofType)}!`;
  return type.kind === "LIST" ? `[${written(type.ofType)}]` : type.name;
};

const named = (type) => (type.ofType ? named(type.ofType) : type.name);

const link = (type) => {
  const made = element("a", { href: "#", textContent: written(type) });
  made.addEventListener("click", (event) => {
    event.preventDefault();
    $("search").value = named(type);
    list(named(type));
  });
  return made;
};

const entry = (field) => {
  const parts = [field.name];
  if (field.args?.length) {
    parts.push("(");
    field.args.forEach((arg, at) => parts.push(at > 0 ? ", " : "", `${arg.name}: `, link(arg.type)));
    parts.push(")");
  }
  if (field.type) parts.push(": ", link(field.type));
  if (field.defaultValue) parts.push(` = ${field.defaultValue}`);
  return [element("dt", {}, ...parts), element("dd", { textContent: field.description ?? "" })];
};

const block = (type, entries) => [
  element("h2", { textContent: `${type.name} · ${type.kind.toLowerCase().replaceAll("_", " ")}` }),
  element("p", { textContent: type.description ?? "" }),
  element("dl", {}, ...entries.flatMap(entry)),
];

// One type as a whole, or every field whose name has the text in it.
const list = (exactly = null) => {
  const text = $("search").value.trim().toLowerCase();
  const shown = types.flatMap((type) => {
    const entries = type.fields ?? type.inputFields ?? type.enumValues ?? [];
    const isIt = exactly ? type.name === exactly : type.name.toLowerCase() === text;
    if (isIt) return [block(type, entries)];
    if (exactly) return [];
    const isRoot = type.isRoot && text === "";
    const found = entries.filter((one) => isRoot || (text !== "" && one.name.toLowerCase().includes(text)));
    return found.length || (text && type.name.toLowerCase().includes(text)) ? [block(type, found)] : [];
  });
  $("types").replaceChildren(...shown.flat());
  $("types").scrollTop = 0;
};

const readSchema = async () => {
  try {
    const { body } = await post({ query: INTROSPECT, operationName: "Schema" });
    const schema = body.data?.__schema;
    if (!schema) {
      $("types").textContent = body.errors?.[0]?.message ?? "this server does not show its schema";
      return;
    }
    const roots = [schema.queryType, schema.mutationType, schema.subscriptionType].map((type) => type?.name);
    types = schema.types.filter((type) => !type.name.startsWith("__"));
    types.forEach((type) => { type.isRoot = roots.includes(type.name); });
    types.sort((a, b) => Number(b.isRoot) - Number(a.isRoot) || a.name.localeCompare(b.name));
    list();
  } catch (error) {
    $("types").textContent = `the schema cannot be read: ${error.message}`;
  }
};

// --- Beginning -----------------------------------------------------------------------------------------

$("run").addEventListener("click", run);
$("stop").addEventListener("click", () => { stop(); say("stopped"); });
$("new-tab").addEventListener("click", () => {
  keep();
  tabs.push({ name: `Document ${tabs.length}`, text: "", variables: "" });
  show(tabs.length - 1);
  $("document").focus();
});
$("sign-in").addEventListener("submit", signIn);
$("search").addEventListener("input", () => list());
$("reload").addEventListener("click", readSchema);
for (const event of ["input", "click", "keyup"]) $("document").addEventListener(event, listOperations);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});
show(0);
readSchema();
