// The pages, in the order of the menu. Each is one file; `name` is its place in the address; `bare`: needs no API, so a broker alone has it.
import { Certificates } from './certificates.js';
import { Devices } from './devices.js';
import { Health } from './health.js';
import { Live } from './live.js';
import { People } from './people.js';
import { Refusals } from './refusals.js';

/** @type {{ name: string, page: any, bare?: boolean }[]} */
export const pages = [
	{ name: 'live', page: Live, bare: true },
	{ name: 'devices', page: Devices },
	{ name: 'refusals', page: Refusals },
	{ name: 'certificates', page: Certificates },
	{ name: 'health', page: Health, bare: true },
	{ name: 'people', page: People },
];
