// Where somebody goes after the login: a page of this site, whatever the address says.

const FIRST = "/web/account";

// The login's address, which leads back to where somebody is now.
export function loginAddress(here) {
  return "/web/login?next=" + encodeURIComponent(here.pathname + here.search + here.hash);
}

// The page that "next" names, if it is one of this site for those who are logged in.
export function pageAfterLogin(next, origin) {
  if (!next || !next.startsWith("/")) {
    return FIRST;
  }
  let address;
  try {
    // As the browser will read it: "//host", "/\host" and "/a/../.." are not what they seem.
    address = new URL(next, origin);
  } catch {
    return FIRST;
  }
  const isOurs = address.origin === origin && /^\/web\/(?!login|invite)[a-z]/.test(address.pathname);
  return isOurs ? address.pathname + address.search + address.hash : FIRST;
}
