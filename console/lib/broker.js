// How a page's worker reaches the broker: where this page came from. Through control the cookie says who it is; a broker that serves the
// page itself asks for a name and a password, which are kept here and nowhere else: a reload forgets them.

/** @type {{ username?: string, password?: string }} */
let login = {};

/** What goes with {do: 'start'} to a worker. */
export const access = () => ({ url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/mqtt`, ...login });

export function setLogin(/** @type {{ username?: string, password?: string }} */ value) {
	login = value;
}
