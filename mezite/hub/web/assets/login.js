// The login: a password, then a second factor, then to where somebody wanted to go.

import { ask } from "./api.js";
import { attempt, byId, hide, onSubmit, point, sayDone, sayProblem, show } from "./dom.js";
import { changePassword, passwordFields } from "./password.js";
import { pageAfterLogin } from "./paths.js";
import { askSecondFactor } from "./secondfactor.js";

const query = new URLSearchParams(location.search);
const passwordForm = byId("password-form");
const user = byId("user");
const password = byId("password");

function leave() {
  location.replace(pageAfterLogin(query.get("next"), location.origin));
}

function begin() {
  hide(byId("second-factor"), byId("change-form"));
  show(passwordForm);
  password.value = "";
  (user.value ? password : user).focus();
}

function typed() {
  return { user: user.value.trim(), password: password.value };
}

function entered(answer) {
  if (answer.must_change_password) {
    askForChange(answer.user);
  } else {
    leave();
  }
}

function askForChange(name) {
  hide(passwordForm, byId("second-factor"));
  const read = passwordFields("change-fields", { user: name });
  byId("change-user").value = name;
  show(byId("change-form"));
  byId("new-password").focus();
  onSubmit(byId("change-form"), () =>
    changePassword({
      user: name,
      old: password.value,
      password: read(),
      place: "second-factor-form",
      wants: (isFactor) => {
        byId("change-form").hidden = isFactor;
        byId("second-factor").hidden = !isFactor;
      },
      done: () => {
        query.set("changed", "1");
        location.replace("/web/login?" + query);
      },
    }),
  );
}

onSubmit(passwordForm, async () => {
  let answer;
  try {
    answer = await ask("POST", "/login", typed());
  } catch (error) {
    point(password);
    throw error;
  }
  if (!answer.second_factor_required) {
    entered(answer);
    return;
  }
  hide(passwordForm);
  show(byId("second-factor"));
  askSecondFactor("second-factor-form", answer, {
    send: async (proof) => entered(await ask("POST", "/login", { ...typed(), ...proof })),
    renew: async () => (await ask("POST", "/login", typed())).webauthn_request,
  });
});
byId("start-over").addEventListener("click", () => {
  sayProblem("");
  user.value = "";
  begin();
});

attempt(document.body, async () => {
  begin();
  if (query.has("out")) {
    sayDone("you are logged out");
  } else if (query.has("changed")) {
    sayDone("your password was changed: log in with the new one");
  } else if (query.has("next")) {
    sayDone("log in to go on");
  }
});
