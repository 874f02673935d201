// Calls that change how somebody logs in: who has not proved lately that it is them is asked
// for it, and what they wanted goes on.

import { askAgain, call, Refused } from "./api.js";
import { byId, Cancelled, hide, onSubmit, point, show } from "./dom.js";
import { askSecondFactor } from "./secondfactor.js";

const WRONG_PASSWORD = "this password is wrong";

const dialog = byId("proof");
const form = byId("proof-form");
const password = byId("proof-password");
const factor = byId("proof-factor");

// As "call", with a proof before it where one is needed.
export async function callProved(method, path, body) {
  try {
    return await call(method, path, body);
  } catch (error) {
    if (!(error instanceof Refused && error.kind === "proof_needed")) {
      throw error;
    }
  }
  await prove();
  return await call(method, path, body);
}

// It returns once they have proved it, and fails with Cancelled if they would rather not.
function prove() {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve, reject) =>
    dialog.addEventListener(
      "close",
      () => {
        forget();
        if (dialog.returnValue === "proved") {
          resolve();
        } else {
          reject(new Cancelled());
        }
      },
      { once: true },
    ),
  );
}

function forget() {
  byId("proof-message").textContent = "";
  password.value = "";
  factor.replaceChildren();
  hide(factor);
  show(form);
}

async function send(proof) {
  const typed = { password: password.value, ...proof };
  let answer;
  try {
    answer = await askAgain("POST", "/session/proof", typed);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      // Who is not logged in any more is led to the login; for others it was the proof.
      await call("GET", "/session");
    }
    throw error;
  }
  if (!answer.second_factor_required) {
    dialog.close("proved");
  }
  return answer;
}

onSubmit(form, async () => {
  let answer;
  try {
    answer = await send({});
  } catch (error) {
    point(password);
    throw error instanceof Refused && error.status === 401
      ? new Refused(401, error.kind, WRONG_PASSWORD)
      : error;
  }
  if (answer.second_factor_required) {
    hide(form);
    show(factor);
    askSecondFactor("proof-factor", answer, {
      send,
      renew: async () => (await send({})).webauthn_request,
    });
  }
});
byId("proof-cancel").addEventListener("click", () => dialog.close());
