// Where we are: the part of the address behind "#". "#/devices/dev1?state=pending" is ["devices", "dev1"] and its query.
import { query } from './api.js';
import { useEffect, useState } from '../vendor/hooks.js';

function read() {
	const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
	const decode = (/** @type {string} */ s) => {
		try {
			return decodeURIComponent(s);
		} catch {
			return s;
		}
	};
	return { parts: path.split('/').filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

export function useRoute() {
	const [route, set] = useState(read);
	useEffect(() => {
		const change = () => set(read());
		addEventListener('hashchange', change);
		return () => removeEventListener('hashchange', change);
	}, []);
	return route;
}

export const to = (/** @type {string[]} */ ...parts) => '#/' + parts.map(encodeURIComponent).join('/');
export function go(/** @type {string} */ hash) {
	location.hash = hash;
}
/** The same place with another query, and no new step in the browser's history. */
export function replace(/** @type {string} */ place, /** @type {Record<string, string>} */ values) {
	history.replaceState(null, '', `#/${place}${query(values)}`);
	dispatchEvent(new HashChangeEvent('hashchange'));
}
