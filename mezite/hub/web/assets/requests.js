// Access requests: one's own, and those of others that one may see and perhaps decide.

import { call, session } from "./api.js";
import { attempt, byId, copyButton, make, onClick, onSubmit, sayDone, timeText } from "./dom.js";

const STATE = /^ACCESS_REQUEST_STATE_/;
const DECISION = "ACCESS_REQUEST_DECISION_";

const requests = [];
let next = "";
let who;

function stateOf(request) {
  return request.state.replace(STATE, "").toLowerCase();
}

function button(text, className, work) {
  const made = make("button", { type: "button", className }, text);
  onClick(made, work);
  return made;
}

// Take what the hub says a request has become.
function replace(changed) {
  const at = requests.findIndex((each) => each.id === changed.id);
  requests[at] = changed;
  showAll();
}

function reviewForm(request) {
  const reason = make("input", {
    id: `reason-${request.id}`,
    maxLength: 1000,
    autocomplete: "off",
    placeholder: "a word to the one who asks",
  });
  const decide = async (decision) => {
    const body = { decision: DECISION + decision, reason: reason.value };
    replace(await call("POST", `/requests/${encodeURIComponent(request.id)}/review`, body));
    sayDone(`request ${request.id} is decided`);
  };
  const choices =
    stateOf(request) === "pending"
      ? [
          button("Approve", "small", () => decide("APPROVE")),
          button("Deny", "quiet small", () => decide("DENY")),
        ]
      : [button("Revoke", "quiet small", () => decide("REVOKE"))];
  return make(
    "div",
    {},
    make("label", { for: reason.id }, "Reason ", make("span", { className: "soft" }, "(or leave it empty)")),
    make("div", { className: "beside" }, reason, ...choices),
  );
}

function cancelButton(request) {
  return make(
    "p",
    { className: "buttons" },
    button("Take it back", "quiet small", async () => {
      replace(await call("POST", `/requests/${encodeURIComponent(request.id)}/cancel`, {}));
      sayDone(`request ${request.id} is taken back`);
    }),
  );
}

function card(request) {
  const state = stateOf(request);
  const isOwn = request.user === who.name;
  const isOpen = state === "pending" || state === "approved";
  const what = `${isOwn ? "" : request.user + " asks for "}${request.roles.join(", ")}`;
  const where = request.nodes.length ? ` on ${request.nodes.join(", ")}` : "";
  const hours = Math.round(request.window_seconds / 360) / 10;
  const last = request.changes.at(-1);
  const item = make(
    "li",
    {},
    make(
      "div",
      { className: "head" },
      make("strong", {}, what + where),
      make("span", { className: state === "approved" ? "state good" : "state" }, state),
    ),
    make("p", {}, request.reason),
    make("p", { className: "soft" }, request.id, ", for ", `${hours} h, made `, timeText(request.created)),
  );
  if (isOpen) {
    item.lastChild.append(", ends ", timeText(request.expires));
  }
  if (request.changes.length > 1) {
    const why = last.reason ? `: ${last.reason}` : "";
    item.append(make("p", { className: "soft" }, `${stateOf(last)} by ${last.by}${why}`));
  }
  if (isOwn && state === "approved") {
    const command = `msh login --request ${request.id}`;
    item.append(make("div", { className: "command" }, make("code", {}, command), copyButton(command)));
  }
  if (isOpen) {
    item.append(isOwn ? cancelButton(request) : reviewForm(request));
  }
  return item;
}

function showAll() {
  const own = requests.filter((each) => each.user === who.name);
  const others = requests.filter((each) => each.user !== who.name);
  byId("own").replaceChildren(...own.map(card));
  byId("others").replaceChildren(...others.map(card));
  byId("no-own").hidden = own.length > 0;
  byId("review").hidden = !others.length;
  byId("more").hidden = !next;
}

async function fetchPage() {
  const answer = await call("GET", "/requests" + (next ? "?page_token=" + encodeURIComponent(next) : ""));
  requests.push(...answer.requests);
  next = answer.next_page_token;
  showAll();
}

function words(id) {
  return byId(id).value.split(/[\s,]+/).filter(Boolean);
}

onClick(byId("more"), fetchPage);
onSubmit(byId("ask-form"), async () => {
  const made = await call("POST", "/requests", {
    roles: words("roles"),
    nodes: words("request-nodes"),
    reason: byId("reason").value,
    window_seconds: 3600 * Number(byId("hours").value),
  });
  byId("ask-form").reset();
  requests.unshift(made);
  showAll();
  sayDone(`request ${made.id} waits for a review`);
});
attempt(document.body, async () => {
  who = await session();
  await fetchPage();
});
