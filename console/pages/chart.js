// One figure over time: as a curve, as a sentence, value by value with the arrow keys, and as a table.
import uPlot from '../vendor/uplot.js';
import { groups, sumUp } from '../lib/figures.js';
import { language, t } from '../lib/text.js';
import { bytes, html, useEffect, useRef, useState } from '../lib/ui.js';

const HEIGHT = 170;
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const short = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hour12: false });
const plainNumber = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const number = (/** @type {number} */ v) => (Math.abs(v) >= 1000 ? whole : plainNumber).format(v);

const perSecond = (/** @type {string} */ n) => t('unit.per-second', { n });

/** @type {Record<string, (v: number) => string>} */
export const units = {
	count: number,
	rate: (v) => perSecond(number(v)),
	minute: (v) => t('unit.per-minute', { n: number(v) }),
	bytes: (v) => bytes(Math.round(v)),
	flow: (v) => perSecond(bytes(Math.round(v))),
	ms: (v) => (v >= 1000 ? t('unit.s', { n: number(v / 1000) }) : t('unit.ms', { n: number(v) })),
};

/** @typedef {{ key: string, label: string, peak: boolean, value: (s: any) => number | null }} Series peak: what counts is the highest value */
/** @typedef {{ name: string, unit: string, series: Series[] }} Figure */

/** A value between two that are not known is no line: it becomes a point. */
const lonely = (u, series) => {
	const v = u.data[series], known = (i) => typeof v[i] === 'number';
	return v.flatMap((x, i) => (known(i) && !known(i - 1) && !known(i + 1) ? [i] : []));
};
const dashes = [[], [7, 4], [2, 3], [9, 3, 2, 3], [1, 3]];

/** A colour of the stylesheet, which knows what is dark and what is light. */
function colour(/** @type {Element} */ at, /** @type {string} */ name) {
	return getComputedStyle(at).getPropertyValue(name).trim();
}

function optionsOf(/** @type {Figure} */ figure, /** @type {HTMLElement} */ box, tell) {
	const axis = { stroke: colour(box, '--dim'), grid: { stroke: colour(box, '--line'), width: 1 }, ticks: { stroke: colour(box, '--line'), width: 1 },
		font: `12px ${getComputedStyle(box).fontFamily}` };
	return { width: Math.max(200, box.clientWidth), height: HEIGHT, legend: { show: false }, padding: [8, 28, 0, 0],
		cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { size: 7 }, sync: { key: 'health' } },
		scales: { y: { range: (u, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
		axes: [{ ...axis, values: (u, times) => times.map((x) => (u.scales.x.max - u.scales.x.min < 600 ? clock : short).format(x * 1000)), space: 80, size: 30 },
			{ ...axis, values: (u, list) => list.map((v) => units[figure.unit](v)), size: 74 }],
		series: [{}, ...figure.series.map((s, i) => ({ stroke: colour(box, `--s${i + 1}`), width: 2, dash: dashes[i % dashes.length], points: { show: false, filter: lonely, size: 6 } }))],
		hooks: { setCursor: [(u) => tell(u.cursor.idx === null || u.cursor.idx === undefined ? null : u.data[0][u.cursor.idx])] } };
}

const dataOf = (/** @type {Figure} */ figure, rows) => [rows.map((r) => r.time), ...figure.series.map((s) => rows.map((r) => (r.gap ? null : s.value(r))))];

function Curve({ figure, rows, look, tell, plot }) {
	const box = useRef(null);
	useEffect(() => {
		const place = box.current, u = plot.current = new uPlot(optionsOf(figure, place, tell), dataOf(figure, rows), place);
		// Told once more when the page is left, which is before the end below.
		const size = new ResizeObserver(() => place.isConnected && u.setSize({ width: Math.max(200, place.clientWidth), height: HEIGHT }));
		size.observe(place);
		return () => {
			size.disconnect();
			u.destroy();
			plot.current = null;
		};
	}, [look, figure.series.map((s) => s.key).join()]);
	useEffect(() => plot.current?.setData(dataOf(figure, rows)), [rows]);
	return html`<div class="curve" ref=${box} aria-hidden="true"></div>`;
}

const said = (/** @type {Figure} */ figure, /** @type {(s: Series) => number | null} */ value) => figure.series.flatMap((s) => {
	const v = value(s);
	return typeof v === 'number' ? [`${s.label} ${units[figure.unit](v)}`] : [];
}).join(', ');

function Table({ figure, rows }) {
	return html`<div class="scroll" tabindex="0" role="region" aria-label=${t('health.table-of', { name: t('health.' + figure.name) })}>
		<table><thead><tr><th scope="col">${t('health.from')}</th>${figure.series.map((s) => html`<th scope="col" class="number">${s.label}, ${t(s.peak ? 'health.highest' : 'health.mean')}</th>`)}</tr></thead>
		<tbody>${groups(rows.filter((r) => !r.gap)).reverse().map((g) => html`<tr key=${g[0].time}><th scope="row">${clock.format(g[0].time * 1000)}</th>
			${figure.series.map((s) => {
				const sum = sumUp(g.map(s.value));
				return html`<td class="number">${sum ? units[figure.unit](s.peak ? sum.most : sum.mean) : '–'}</td>`;
			})}</tr>`)}</tbody></table></div>`;
}

const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };

/**
 * @param {{ figure: Figure, rows: any[], none: string, look: string, at: number | null, setAt: (time: number | null) => void, children?: any }} props
 * look: changes when the colours do; at: the time that is looked at
 */
export function Chart({ figure, rows, none, look, at, setAt, children = null }) {
	const [open, setOpen] = useState(false), plot = useRef(null);
	const title = t('health.' + figure.name), id = 'chart-' + figure.name;
	const sums = figure.series.map((s) => sumUp(rows.map(s.value)));
	const index = at === null ? rows.length - 1 : Math.max(0, rows.findLastIndex((r) => r.time <= at)), row = rows[index];
	const onKey = (e) => {
		if (!(e.key in steps))
			return;
		e.preventDefault();
		const next = Math.min(rows.length - 1, Math.max(0, index + steps[e.key]));
		setAt(rows[next].time);
		plot.current?.setCursor({ left: plot.current.valToPos(rows[next].time, 'x'), top: 1 });
	};
	if (sums.every((s) => s === null))
		return html`<section class="card chart ${figure.name}" aria-labelledby=${id}><h2 id=${id}>${title}</h2><p class="dim">${none}</p>${children}</section>`;
	const values = said(figure, (s) => s.value(row));
	return html`<section class="card chart ${figure.name}" aria-labelledby=${id}><h2 id=${id}>${title}</h2>
		<p class="small summary">${t('health.summary', { now: said(figure, (s) => sums[figure.series.indexOf(s)]?.now) || '–', most: said(figure, (s) => sums[figure.series.indexOf(s)]?.most) })}</p>
		<div class="plot" tabindex="0" role="slider" aria-label=${t('health.values-of', { name: title })} aria-valuemin="0" aria-valuemax=${rows.length - 1} aria-valuenow=${index}
			aria-valuetext=${`${clock.format(row.time * 1000)}: ${values || '–'}`} onKeyDown=${onKey} onBlur=${() => setAt(null)}>
			<${Curve} figure=${figure} rows=${rows} look=${look} tell=${setAt} plot=${plot} /></div>
		<ul class="legend small">${figure.series.map((s, i) => html`<li key=${s.key}><svg width="26" height="8" aria-hidden="true"><line x1="0" y1="4" x2="26" y2="4" class=${`s${i + 1}`} /></svg>
			${s.label}${at !== null ? html` <b>${typeof s.value(row) === 'number' ? units[figure.unit](s.value(row)) : '–'}</b>` : ''}</li>`)}
			${at !== null && html`<li class="dim">${clock.format(row.time * 1000)}</li>`}</ul>
		<details onToggle=${(e) => setOpen(e.currentTarget.open)}><summary>${t('health.as-table')}</summary>${open && html`<${Table} figure=${figure} rows=${rows} />`}</details>${children}</section>`;
}
