// The pages, in the order of the menu. Each is one file; `name` is its place in the address; `bare`: needs no API, so a broker alone has it.
// What stands <under> another one is reached from there.
import { Certificates } from './certificates.js';
import { Devices } from './devices.js';
import { Health } from './health.js';
import { Live } from './live.js';
import { Pending } from './pending.js';
import { People } from './people.js';
import { Policy } from './policy.js';
import { Refusals } from './refusals.js';
import { Templates } from './templates.js';

/** @type {{ name: string, page: any, bare?: boolean, under?: string }[]} */
export const pages = [
	{ name: 'live', page: Live, bare: true },
	{ name: 'devices', page: Devices },
	{ name: 'pending', page: Pending, under: 'devices' },
	{ name: 'templates', page: Templates, under: 'devices' },
	{ name: 'refusals', page: Refusals },
	{ name: 'certificates', page: Certificates },
	{ name: 'health', page: Health, bare: true },
	{ name: 'policy', page: Policy },
	{ name: 'people', page: People },
];
