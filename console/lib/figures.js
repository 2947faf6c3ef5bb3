// The broker's figures as it keeps them ($SYS/broker/health/…): samples with names, in order, across its restarts.

export const KEPT = 360; // samples, as many as the broker keeps

/** @typedef {{ n: number, time: number, causes: Record<string, number>, gap?: boolean } & Record<string, any>} Sample */
/** @typedef {{ interval: number, past: Sample[], now: Sample[] }} Figures past: of earlier lives of the broker */
/** @returns {Figures} */
export const nothing = () => ({ interval: 0, past: [], now: [] });

function samplesOf(/** @type {any} */ doc) {
	return doc.samples.map((values, i) => {
		/** @type {any} */
		const sample = { n: doc.first + i };
		doc.fields.forEach((name, k) => (sample[name] = values[k]));
		return sample;
	});
}

/** <doc> is what one message says: some of the samples, or all. */
export function merge(/** @type {Figures} */ old, /** @type {any} */ doc) {
	const fresh = samplesOf(doc), newest = fresh.at(-1), last = old.now.at(-1);
	let { past, now } = old;
	// Numbers begin at 0 with the process.
	if (newest && last && newest.n < last.n && newest.time > last.time) {
		past = [...past, ...now, { n: -1, time: last.time + 1, causes: {}, gap: true }].slice(-KEPT);
		now = [];
	}
	const all = new Map(now.map((s) => [s.n, s]));
	for (const s of fresh)
		all.set(s.n, s);
	return { interval: doc.interval, past, now: [...all.values()].sort((a, b) => a.n - b.n).slice(-KEPT) };
}

/** Those of the last <seconds>, the oldest first; no two have the same time. */
export function lately(/** @type {Figures} */ figures, /** @type {number} */ seconds) {
	const rows = [...figures.past, ...figures.now].slice(-KEPT), end = rows.at(-1)?.time ?? 0;
	const list = rows.filter((s) => s.time > end - seconds);
	for (let i = 1; i < list.length; i++)
		if (list[i].time <= list[i - 1].time)
			list[i] = { ...list[i], time: list[i - 1].time + 0.001 };
	return list;
}

/** The causes of refusals in these samples, the most frequent first. */
export function causesOf(/** @type {Sample[]} */ rows, most = 5) {
	/** @type {Map<string, number>} */
	const sums = new Map();
	for (const s of rows)
		for (const [cause, n] of Object.entries(s.causes ?? {}))
			sums.set(cause, (sums.get(cause) ?? 0) + n);
	return [...sums].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, most).map(([cause]) => cause);
}

/** At most <most> groups of samples that follow each other. */
export function groups(/** @type {Sample[]} */ rows, most = 12) {
	const size = Math.max(1, Math.ceil(rows.length / most)), list = [];
	for (let i = 0; i < rows.length; i += size)
		list.push(rows.slice(i, i + size));
	return list;
}

/** @param {(number | null)[]} values @returns {{ now: number | null, mean: number, most: number } | null} NULL: there is no value */
export function sumUp(values) {
	const known = values.filter((v) => typeof v === 'number');
	if (known.length === 0)
		return null;
	return { now: values.at(-1) ?? null, mean: known.reduce((a, b) => a + b, 0) / known.length, most: known.reduce((a, b) => Math.max(a, b)) };
}
