// CSV (RFC 4180): from a file to rows, and from rows to a file.

/**
 * Between cells stand commas, or semicolons where the first line has no comma.
 * @param {string} text @returns {{ line: number, cells: string[] }[]} rows with the line on which each begins; empty lines are left out
 */
export function parse(text) {
	const rows = [], first = text.split('\n', 1)[0], between = first.includes(';') && !first.includes(',') ? ';' : ',';
	let line = 1, cells = [], cell = '', begun = 1, at = text.startsWith('\ufeff') ? 1 : 0;
	const end = () => {
		cells.push(cell);
		if (cells.length > 1 || cells[0].trim() !== '')
			rows.push({ line: begun, cells });
		cells = [];
		cell = '';
	};
	while (at < text.length) {
		const c = text[at++];
		if (c === '"' && cell === '') {
			for (; at < text.length && (text[at] !== '"' || text[at + 1] === '"'); at++) {
				if (text[at] === '"')
					at++;
				if (text[at] === '\n')
					line++;
				cell += text[at];
			}
			at++;
		} else if (c === between) {
			cells.push(cell);
			cell = '';
		} else if (c === '\n') {
			end();
			begun = ++line;
		} else if (c !== '\r') {
			cell += c;
		}
	}
	if (cell !== '' || cells.length > 0)
		end();
	return rows;
}

/** One line. What a spreadsheet would take for a formula is no formula (a device may call itself "=cmd…"). */
export function line(/** @type {(string | number)[]} */ cells) {
	return cells.map((c) => {
		const text = /^[=+\-@\t]/.test(String(c)) ? `'${c}` : String(c);
		return /[",;\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
	}).join(',') + '\r\n';
}
