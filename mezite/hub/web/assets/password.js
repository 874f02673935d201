// Two fields for a new password, its rules, and the way to replace an old one.

import { ask, Refused } from "./api.js";
import { byId, make, Mistake, point } from "./dom.js";
import { askSecondFactor } from "./secondfactor.js";

// As the hub counts: names that are shorter stand in too many words by chance.
const NAME_LENGTH = 3;
const LONGEST = 1024;

// Put the fields there; what it returns reads the password, or raises a Mistake.
export function passwordFields(place, { shortest = 8, user }) {
  const first = passwordInput("new-password");
  const second = passwordInput("new-password-again");
  first.setAttribute("aria-describedby", "password-rules");
  const rules = [
    [`at least ${shortest} characters`, (text) => length(text) >= shortest && length(text) <= LONGEST],
    [`without your user name, ${user}`, (text) => text !== "" && !hasName(text, user)],
    ["the same in both fields", (text) => text !== "" && text === second.value],
  ].map(([what, holds]) => ({ what, holds, item: make("li", {}, what) }));
  const list = make("ul", { id: "password-rules", className: "rules" });
  list.append(...rules.map((each) => each.item));

  function judge() {
    for (const { holds, item } of rules) {
      item.classList.toggle("kept", holds(first.value));
    }
  }
  first.addEventListener("input", judge);
  second.addEventListener("input", judge);
  byId(place).replaceChildren(
    make("label", { for: first.id }, "New password"),
    first,
    make("label", { for: second.id }, "The same again"),
    second,
    list,
    make(
      "p",
      { className: "soft" },
      "Passwords that everybody tries first are refused. Nothing else is asked of it: a few words are fine.",
    ),
  );
  return () => {
    const password = first.value;
    if (length(password) < shortest || length(password) > LONGEST) {
      throw new Mistake(`a password has ${shortest} to ${LONGEST} characters`, first);
    }
    if (hasName(password, user)) {
      throw new Mistake("a password must not contain the user's name", first);
    }
    if (password !== second.value) {
      throw new Mistake("the two passwords are not the same", second);
    }
    return password;
  };
}

// Replace a password. All sessions end by it. "wants" is told when a second factor is to be
// shown at the place, and when the form for the password is to be seen again.
export async function changePassword({ user, old, password, place, wants, done }) {
  const proof = { user, password: old };
  const change = async (factor) => {
    try {
      await ask("POST", "/password", { user, old_password: old, new_password: password, ...factor });
    } catch (error) {
      if (error.status === 400) {
        // It is the new password that is not accepted.
        wants(false);
        point(byId("new-password"));
      }
      throw error;
    }
    done();
  };
  let answer;
  try {
    answer = await ask("POST", "/login", proof);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      throw new Refused(401, error.kind, "this is not the password that you have now");
    }
    throw error;
  }
  if (!answer.second_factor_required) {
    await change({});
    return;
  }
  wants(true);
  askSecondFactor(place, answer, {
    send: change,
    renew: async () => (await ask("POST", "/login", proof)).webauthn_request,
  });
}

function passwordInput(id) {
  return make("input", { id, type: "password", autocomplete: "new-password", required: true });
}

// As the hub counts: characters, and not halves of them.
function length(text) {
  return [...text].length;
}

function hasName(text, user) {
  return user.length >= NAME_LENGTH && text.normalize("NFKC").toLowerCase().includes(user.toLowerCase());
}
