// How the broker is: what is wrong now, and its figures over the last hour. All of it comes from $SYS, so this page needs no API.
import { access } from '../lib/broker.js';
import { causesOf, lately, merge, nothing } from '../lib/figures.js';
import { language, t } from '../lib/text.js';
import { Busy, Empty, html, plain, useEffect, useRef, useState, When } from '../lib/ui.js';
import { startWorker } from '../lib/worker.js';
import { useMemo } from '../vendor/hooks.js';
import { Chart } from './chart.js';

const TOP = '$SYS/broker/';
const FILTERS = ['health/+', 'alarms', 'refusals', 'version', 'uptime', 'store/state'].map((x) => TOP + x);
const RANGES = [600, 3600];
const number = new Intl.NumberFormat(language);

/** @returns {import('./chart.js').Figure} */
const figure = (/** @type {string} */ name, /** @type {string} */ unit, /** @type {string[]} */ fields, /** @type {string[]} */ peaks = []) => ({ name, unit,
	series: fields.map((key) => ({ key, label: t('figure.' + key), peak: peaks.includes(key), value: (s) => s[key] ?? null })) });

const figures = () => [
	figure('connections', 'count', ['connections', 'sessions']), figure('messages', 'rate', ['messages_in', 'messages_out', 'dropped'], ['dropped']),
	figure('bytes', 'flow', ['bytes_in', 'bytes_out']), figure('latency', 'ms', ['latency', 'latency_max'], ['latency_max']),
	figure('queue', 'count', ['queued'], ['queued']), figure('lag', 'ms', ['lag_p50', 'lag_p99'], ['lag_p99']),
	figure('store', 'ms', ['flush_p50', 'flush_p99'], ['flush_p99']), figure('memory', 'bytes', ['memory'], ['memory']),
];

/** A minute's refusals, by cause. @returns {import('./chart.js').Figure} */
const refusals = (/** @type {any[]} */ rows, /** @type {number} */ interval) => ({ name: 'refusals', unit: 'minute',
	series: causesOf(rows).map((cause) => ({ key: cause, label: plain(cause, 40), peak: true, value: (s) => ((s.causes?.[cause] ?? 0) * 60) / Math.max(1, interval) })) });

/** What the broker says on these topics, as long as the page is open. */
function useSys() {
	const [state, setState] = useState({ state: 'connecting', why: '' });
	const [said, setSaid] = useState({ alarms: null, refusals: {}, version: '', uptime: '', store: '', figures: nothing() });
	useEffect(() => {
		const w = startWorker();
		const take = {
			alarms: (text) => ({ alarms: JSON.parse(text) }), refusals: (text) => ({ refusals: JSON.parse(text) }), version: (text) => ({ version: text }),
			uptime: (text) => ({ uptime: text }), 'store/state': (text) => ({ store: text }),
		};
		const hear = (topic, text) => {
			const name = topic.slice(TOP.length);
			if (name.startsWith('health/'))
				setSaid((old) => ({ ...old, figures: merge(old.figures, JSON.parse(text)) }));
			else if (name in take)
				setSaid((old) => ({ ...old, ...take[name](text) }));
		};
		w.onmessage = ({ data: m }) => {
			if (m.kind === 'ready')
				w.postMessage({ do: 'start', ...access(), filter: FILTERS, whole: true });
			else if (m.kind === 'state')
				setState({ why: '', ...m });
			else if (m.kind === 'message')
				hear(m.topic, m.text);
		};
		return () => {
			w.postMessage({ do: 'stop' });
			setTimeout(() => w.terminate(), 500);
		};
	}, []);
	return { state, said };
}

/** A word that changes when the colours do: curves are painted, and know of no stylesheet. */
function useLook() {
	const dark = useRef(matchMedia('(prefers-color-scheme: dark)'));
	const read = () => `${document.documentElement.dataset.theme} ${dark.current.matches}`;
	const [look, set] = useState(read);
	useEffect(() => {
		const change = () => set(read()), seen = new MutationObserver(change);
		seen.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
		dark.current.addEventListener('change', change);
		return () => {
			seen.disconnect();
			dark.current.removeEventListener('change', change);
		};
	}, []);
	return look;
}

function Alarms({ list }) {
	// Its words may change with every sample: only what comes and goes is said aloud.
	const aloud = list === null ? '' : list.length === 0 ? t('health.well') : t('health.standing', { n: list.length, names: list.map((a) => plain(a.name, 40)).join(', ') });
	return html`<section class="card alarms" aria-labelledby="alarms"><h2 id="alarms">${t('health.alarms')}</h2><p class="aloud" role="status">${aloud}</p>
		${list === null ? html`<p class="dim">${t('loading')}</p>`
			: list.length === 0 ? html`<p><span class="badge good">${t('health.well')}</span></p>`
				: html`<ul class="plain">${list.map((a) => html`<li key=${`${a.name} ${a.since}`}><p><span class="badge ${a.level === 'error' ? 'bad' : 'warn'}">${t(a.level === 'error' ? 'health.error' : 'health.warning')}</span>
					<b>${plain(a.text, 700)}</b></p><p class="remedy">${t('what-to-do')}: ${plain(a.remedy, 500)}</p>
					<p class="dim small"><code>${plain(a.name, 40)}</code> · <${When} time=${new Date(a.since * 1000).toISOString()} /></p></li>`)}</ul>`}</section>`;
}

const Totals = ({ counts }) => {
	const list = Object.entries(counts).sort((a, b) => b[1] - a[1]);
	return list.length === 0 ? null : html`<details><summary>${t('health.since-start', { n: number.format(list.reduce((n, [, x]) => n + x, 0)) })}</summary>
		<div class="scroll" tabindex="0" role="region" aria-label=${t('health.by-cause')}><table><tbody>${list.map(([cause, n]) => html`<tr key=${cause}><th scope="row">${plain(cause, 60)}</th><td class="number">${number.format(n)}</td></tr>`)}</tbody></table></div></details>`;
};

function Figures({ said, seconds }) {
	const look = useLook(), [at, setAt] = useState(null);
	const rows = useMemo(() => lately(said.figures, seconds), [said.figures, seconds]), interval = said.figures.interval;
	if (rows.length < 2)
		return html`<${Empty} title=${t('health.none')}>${t('health.none-help')}<//>`;
	const own = { rows, look, at, setAt };
	return html`<div class="charts">${figures().map((f) => html`<${Chart} key=${f.name} figure=${f} none=${t(f.name === 'store' ? `health.store-${said.store === 'off' ? 'off' : 'idle'}` : 'health.no-value')} ...${own} />`)}
		<${Chart} key="refusals" figure=${refusals(rows, interval)} none=${t('health.nobody')} ...${own}><${Totals} counts=${said.refusals} /><//></div>`;
}

function Lost({ state, bare }) {
	if (state.state !== 'closed' && state.state !== 'refused')
		return null;
	return html`<div class="trouble" role="alert"><p>${t(`health.${state.state}`)} ${plain(state.why, 300)}</p><p class="dim">${t(`health.${bare && state.state === 'refused' ? 'bare-' : ''}${state.state}-help`)}</p></div>`;
}

const words = { open: 'good', connecting: 'warn', closed: 'bad', refused: 'bad', stopped: '' };

export function Health({ bare = false }) {
	const { state, said } = useSys(), [seconds, setSeconds] = useState(3600);
	const begun = said.figures.interval > 0 || said.alarms !== null;
	return html`<div class="head"><h1>${t('page.health')}</h1><p class="flow"><span role="status"><span class="badge ${words[state.state]}">${t('live.state-' + state.state)}</span></span>
			<span class="dim">${plain(said.version, 60)}${said.uptime ? ` · ${t('health.up', { time: upFor(said.uptime) })}` : ''}</span></p>
		<div class="row" role="group" aria-label=${t('health.range')}>${RANGES.map((s) => html`<button type="button" key=${s} aria-pressed=${s === seconds} onClick=${() => setSeconds(s)}>${t('health.minutes', { n: s / 60 })}</button>`)}</div></div>
		<${Lost} state=${state} bare=${bare} />
		${begun ? html`<${Alarms} list=${said.alarms} /><${Figures} said=${said} seconds=${seconds} />` : state.state === 'refused' ? null : html`<${Busy} />`}`;
}

/** "93784 seconds" as people say it. */
function upFor(/** @type {string} */ text) {
	const s = parseInt(text, 10) || 0, days = Math.floor(s / 86400), hours = Math.floor(s / 3600) % 24, minutes = Math.floor(s / 60) % 60;
	const values = { d: days, h: hours, m: minutes, n: s };
	return t('unit.' + (days > 0 ? 'days' : hours > 0 ? 'hours' : minutes > 0 ? 'minutes' : 's'), values);
}
