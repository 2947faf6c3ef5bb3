// The pages, in the order of the menu. Each is one file; `name` is its place in the address.
import { Live } from './live.js';

/** @type {{ name: string, page: any }[]} */
export const pages = [
	{ name: 'live', page: Live },
];
