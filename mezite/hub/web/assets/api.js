// Calls of the hub's REST API, with the cookie of the session and its CSRF token.
// Who is not logged in any more is led to the login, and back.

import { loginAddress } from "./paths.js";

const PREFIX = "/v1/webapi";
// A little more than the hub takes for a call at most.
const CALL_MILLISECONDS = 70_000;

let csrfToken = "";
let userName = "";

// What the hub answered that is no success; the message is a sentence for people.
export class Refused extends Error {
  constructor(status, kind, sentence) {
    super(sentence);
    this.status = status;
    this.kind = kind;
  }
}

// Ask, whether logged in or not; what it answers.
export async function ask(method, path, body) {
  const headers = {};
  const options = { method, headers, cache: "no-store", redirect: "error" };
  if (method !== "GET" && csrfToken) {
    headers["X-CSRF-Token"] = csrfToken;
  }
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  let answer = null;
  try {
    response = await fetch(PREFIX + path, {
      ...options,
      signal: AbortSignal.timeout(CALL_MILLISECONDS),
    });
    const text = await response.text();
    answer = text ? JSON.parse(text) : null;
  } catch {
    throw new Refused(0, "unavailable", "the hub does not answer: check your connection, and try again");
  }
  if (!response.ok) {
    const error = answer?.error ?? {};
    throw new Refused(response.status, error.kind ?? "internal", error.message ?? "the hub failed");
  }
  if (answer?.csrf_token) {
    csrfToken = answer.csrf_token;
  }
  return answer;
}

// Ask as somebody who is logged in. It does not return to who is not: they go to the login.
export async function call(method, path, body) {
  try {
    return await askAgain(method, path, body);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      location.replace(loginAddress(location));
      return new Promise(() => {});
    }
    throw error;
  }
}

// Somebody who has logged in anew, beside this page, has another CSRF token by now. What is
// refused for the want of it was not begun, and can be asked again.
export async function askAgain(method, path, body) {
  const before = csrfToken;
  try {
    return await ask(method, path, body);
  } catch (error) {
    if (!(error instanceof Refused && error.kind === "denied" && method !== "GET")) {
      throw error;
    }
    const now = await ask("GET", "/session");
    if (csrfToken === before) {
      throw error;
    }
    if (now.name !== userName) {
      location.reload();
      return new Promise(() => {});
    }
    return await ask(method, path, body);
  }
}

// Who is logged in. The button for logging out works from now on.
export async function session() {
  document.getElementById("log-out")?.addEventListener("click", logOut);
  // Who goes back to a page after logging out must not see it as it was.
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
  const who = await call("GET", "/session");
  userName = who.name;
  return who;
}

async function logOut() {
  try {
    await askAgain("DELETE", "/session");
  } catch (error) {
    // Nobody is to believe that they are logged out who are not.
    if (error.status !== 401) {
      document.getElementById("message").textContent = `You are still logged in: ${error.message}.`;
      return;
    }
  }
  location.assign("/web/login?out=1");
}
