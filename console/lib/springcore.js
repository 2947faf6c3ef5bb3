// What a SpringCore reader can be told (READER COMMAND): its parameters, and the JSON that they make. All are optional; Sequence stands alone
// beside the relays.

/** @typedef {{ name: string, kind: 'number' | 'text' | 'choice', pattern?: string, max?: number, choices?: string[], alone?: boolean }} Parameter */
/** @type {Parameter[]} */
export const parameters = [
	{ name: 'Buzzer', kind: 'number', max: 65535 },
	{ name: 'Leds', kind: 'text', pattern: '[0-9A-Fa-f]{8}' },
	{ name: 'RgbColor', kind: 'text', pattern: '[0-9A-Fa-f]{6}' },
	{ name: 'RgbMode', kind: 'number', max: 255 },
	{ name: 'Sequence', kind: 'text', pattern: '[0-9A-Fa-f]{1,8}', alone: true },
	{ name: 'Relay', kind: 'choice', choices: ['on', 'off', 'time'] },
	{ name: 'Relays', kind: 'text', pattern: '[01](,[01])*' },
];

/**
 * @param {Record<string, string>} values what stands in the form, by the names of the parameters; RelayTime beside them
 * @returns {Record<string, any>} the command
 */
export function command(values) {
	const out = {};
	const sequence = values.Sequence?.trim();
	for (const p of parameters) {
		const value = values[p.name]?.trim();
		if (!value || (sequence && ['Buzzer', 'Leds', 'RgbColor', 'RgbMode'].includes(p.name)))
			continue;
		if (p.name === 'Sequence')
			out.Sequence = /^\d+$/.test(value) ? Number(value) : value;
		else if (p.name === 'Relay')
			out.Relay = value === 'time' ? Number(values.RelayTime || 0) : value === 'on';
		else if (p.name === 'Relays')
			out.Relays = value.split(',').map((x) => x === '1');
		else
			out[p.name] = p.kind === 'number' ? Number(value) : value.toUpperCase();
	}
	return out;
}
