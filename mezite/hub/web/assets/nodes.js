// The nodes that somebody may reach, and what to type for it.

import { call, session } from "./api.js";
import { attempt, byId, copyButton, make, onClick, timeText } from "./dom.js";

const nodes = [];
let next = "";
let who;

function card(node) {
  const isOnline = node.status === "NODE_STATUS_ONLINE";
  const isAgentless = node.status === "NODE_STATUS_AGENTLESS";
  const word = isOnline ? "online" : isAgentless ? "agentless" : "offline";
  const state = make("span", { className: isOnline ? "state good" : "state" }, word);
  const seen = make("span", { className: "soft" });
  if (isOnline) {
    seen.append("connected ", timeText(node.online_since));
  } else if (node.last_seen) {
    seen.append("last seen ", timeText(node.last_seen));
  } else if (!isAgentless) {
    seen.append("never seen");
  }
  const labels = make("ul", { className: "labels", "aria-label": "Labels" });
  labels.append(...pairs(node).map((each) => make("li", {}, each)));
  const login = who.logins[0];
  const command = `msh ssh ${login ? login + "@" : ""}${node.hostname}`;
  return make(
    "li",
    {},
    make("div", { className: "head" }, make("strong", { title: node.agent_id }, node.hostname), state, seen),
    labels,
    make("div", { className: "command" }, make("code", {}, command), copyButton(command)),
  );
}

function pairs(node) {
  return Object.entries(node.labels)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`);
}

function showFound() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = nodes.filter((node) => {
    const text = [node.hostname, ...pairs(node)].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  byId("nodes").replaceChildren(...found.map(card));
  byId("more").hidden = !next;
  const online = found.filter((node) => node.status === "NODE_STATUS_ONLINE").length;
  byId("count").textContent = nodes.length
    ? `${found.length} ${found.length === 1 ? "node" : "nodes"}, ${online} online` +
      (next ? ", and there are more" : "")
    : "There is no node that you may reach.";
}

async function fetchPage() {
  const answer = await call("GET", "/nodes" + (next ? "?page_token=" + encodeURIComponent(next) : ""));
  nodes.push(...answer.nodes);
  next = answer.next_page_token;
  showFound();
}

byId("filter").addEventListener("input", showFound);
byId("filter-form").addEventListener("submit", (event) => event.preventDefault());
onClick(byId("more"), fetchPage);
attempt(document.body, async () => {
  who = await session();
  await fetchPage();
});
