// Who may do what with messages: a question and the rule that decides it, the rules in force, and what others would change.
import { all, call, get, query } from '../lib/api.js';
import { t } from '../lib/text.js';
import { Busy, Empty, html, Name, plain, Trouble, useEffect, useLoad, useRef, useState } from '../lib/ui.js';
import { Yes } from './rights.js';

/** "springcore:12" */
const Place = ({ source, line }) => (source ? html`<span class="mono"><${Name} value=${source} most=${200} />${line ? `:${line}` : ''}</span>` : html`<span class="dim">–</span>`);

// ---- a question ----

function Answer({ a, onTry }) {
	const who = [['policy.role', a.role], ['cert.name', a.cn], ['policy.user', a.user], ['device.listener', a.listener]].filter(([, v]) => v);
	return html`<div class="answer ${a.allowed ? 'yes' : 'no'}"><p><${Yes} ok=${a.allowed} /> ${a.part ? t('policy.part') : ''} <strong><bdi>${a.allowed ? t('policy.may') : plain(a.why, 400)}</bdi></strong></p>
		<dl><dt>${t('policy.rule')}</dt><dd>${a.rule ? html`<${Place} source=${a.source} line=${a.line} /> <${Name} value=${a.rule} most=${600} />` : t('policy.no-rule')}</dd>
		${who.map(([k, v]) => html`<dt>${t(k)}</dt><dd><${Name} value=${v} most=${200} /></dd>`)}<dt>${t('policy.judged')}</dt><dd>${t(a.connected ? 'policy.judged-connected' : a.session ? 'policy.judged-kept' : 'policy.judged-stranger')}</dd></dl>
		${a.state && a.state !== 'enabled' && html`<p class="remedy">${t('policy.state', { state: t('state.' + a.state) })}</p>`}
		${a.remedy && html`<p class="remedy">${t('policy.change')}: <bdi>${plain(a.remedy, 700)}</bdi></p>`}${a.fix && html`<pre tabindex="0" aria-label=${t('policy.fix')}>${a.fix.split('\n').map((l) => plain(l, 1200)).join('\n')}</pre>
		${onTry && html`<p><button type="button" onClick=${() => onTry(a)}>${t('policy.try-fix')}</button></p>`}`}</div>`;
}

const kinds = ['device', 'cn', 'user', 'anonymous'];

function Ask({ me, route, listeners, onTry }) {
	const given = route.query;
	const [q, set] = useState({ kind: kinds.find((k) => given.has(k)) ?? 'device', who: kinds.map((k) => given.get(k)).find(Boolean) ?? '', role: given.get('role') ?? 'client', action: given.get('action') ?? 'publish', topic: given.get('topic') ?? '', listener: '' });
	const [state, setState] = useState({ busy: false, error: null, answer: null });
	const change = (name) => (e) => set({ ...q, [name]: e.currentTarget.value });
	const ask = async (e) => {
		e?.preventDefault();
		setState({ ...state, busy: true, error: null });
		try {
			const who = q.kind === 'anonymous' ? {} : { [q.kind]: q.who, ...(q.kind === 'cn' ? { role: q.role } : {}) };
			setState({ busy: false, error: null, answer: await get('policy/explain' + query({ ...who, action: q.action, topic: q.action === 'connect' ? '' : q.topic, listener: q.listener })) });
		} catch (error) {
			setState({ busy: false, error, answer: null });
		}
	};
	useEffect(() => {
		if (q.who && (q.topic || q.action === 'connect'))
			ask(null);
	}, []);
	return html`<section class="card"><h2>${t('policy.ask')}</h2><form class="row" onSubmit=${ask}>
		${me.platform && html`<label>${t('policy.who')}<select value=${q.kind} onChange=${change('kind')}>${kinds.map((k) => html`<option value=${k}>${t('policy.kind-' + k)}</option>`)}</select></label>`}
		${q.kind !== 'anonymous' && html`<label>${t('policy.name-' + q.kind)}<input required maxlength="160" value=${q.who} autocapitalize="none" spellcheck=${false} onInput=${change('who')} /></label>`}
		${q.kind === 'cn' && html`<label>${t('policy.role')}<select value=${q.role} onChange=${change('role')}>${['client', 'watch', 'control', 'cloud', 'none'].map((r) => html`<option>${r}</option>`)}</select></label>`}
		<label>${t('policy.action')}<select value=${q.action} onChange=${change('action')}>${['publish', 'subscribe', 'receive', 'connect'].map((a) => html`<option value=${a}>${t('policy.do-' + a)}</option>`)}</select></label>
		${q.action !== 'connect' && html`<label>${t(q.action === 'subscribe' ? 'live.filter' : 'live.topic')}<input required maxlength="1000" value=${q.topic} autocapitalize="none" spellcheck=${false} onInput=${change('topic')} /></label>`}
		${listeners.length > 1 && html`<label>${t('device.listener')}<select value=${q.listener} onChange=${change('listener')}><option value="">${t('policy.any-listener')}</option>${listeners.map((l) => html`<option value=${l}>${plain(l, 60)}</option>`)}</select></label>`}
		<button class="main" disabled=${state.busy}>${t('rights.ask')}</button></form>
		${!me.platform && html`<p class="dim small">${t('policy.own-topics', { tenant: plain(me.tenant, 64) })}</p>`}
		<${Trouble} error=${state.error} /><div role="status">${state.answer && html`<${Answer} a=${state.answer} onTry=${onTry} />`}</div></section>`;
}

// ---- what is in force ----

function Rules({ x }) {
	const [find, set] = useState(''), word = find.toLowerCase();
	const shown = x.rules.filter((r) => r.text.toLowerCase().includes(word));
	return html`<div class="below"><h3>${t('policy.at-listener')} <${Name} value=${x.listener} /></h3><p>${t('policy.kind-of-' + x.kind)} ${x.source && html`<span class="mono"><${Name} value=${x.source} most=${200} /></span>`}</p>
		${x.rules.length > 12 && html`<label>${t('policy.find')}<input type="search" value=${find} spellcheck=${false} onInput=${(e) => set(e.currentTarget.value)} /></label>`}
		<div class="scroll tall" tabindex="0" role="region" aria-label=${`${t('policy.rules')} ${plain(x.listener, 60)}`}><table><thead><tr><th>${t('policy.place')}</th><th>${t('policy.rule')}</th></tr></thead>
		<tbody>${shown.map((r) => html`<tr><td><${Place} source=${r.source} line=${r.line} /></td><td><${Name} value=${r.text} most=${600} /></td></tr>`)}</tbody></table></div>${x.more > 0 && html`<p class="dim small">${t('policy.more', { n: x.more })}</p>`}</div>`;
}

// ---- what others would change ----

function Client({ c }) {
	return html`<li class="card"><p><strong><${Name} value=${c.client_id} /></strong> <span class="dim">${t(c.connected ? 'state.online' : 'policy.judged-kept')} · ${plain(c.role, 20)} · <${Name} value=${c.cn ?? c.user} /> · <${Name} value=${c.listener} /></span></p>
		<ul class="plain small">${c.changes.map((x) => html`<li><span class="badge ${x.change === 'loses' ? 'bad' : 'good'}">${t('policy.' + (x.change === 'loses' ? 'loses' : 'gains'))}</span> ${t('policy.do-' + x.action)} <${Name} value=${x.topic} most=${200} /></li>`)}</ul>
		${c.lost + c.gained > c.changes.length && html`<p class="dim small">${t('live.more', { n: c.lost + c.gained - c.changes.length })}</p>`}</li>`;
}

function Result({ r }) {
	return html`<p><strong>${t('policy.changed', { changed: r.changed, sessions: r.sessions })}</strong> ${t('policy.losing', { losing: r.losing, gaining: r.gaining, subscriptions: r.subscriptions })}</p>
		${r.incomplete && html`<p class="remedy">${t('policy.incomplete')}</p>`}${r.coarse > 0 && html`<p class="remedy">${t('policy.coarse', { n: r.coarse })}</p>`}
		${r.clients.length > 0 ? html`<ul class="plain cards-list">${r.clients.map((c) => html`<${Client} key=${c.client_id + c.listener} c=${c} />`)}</ul>` : html`<p class="dim">${t('policy.nobody')}</p>`}`;
}

/** The text to begin with: what is in force, or a file of one's own that uses it. */
export function textOf(/** @type {any} */ x) {
	if (!x)
		return '';
	return x.ready_made ? `use ${x.source}\n` : x.text ?? '';
}

function Propose({ text, setText, inForce, box }) {
	const [listener, setListener] = useState(''), [state, set] = useState({ busy: false, error: null, result: null });
	const one = inForce.find((x) => x.listener === listener) ?? inForce[0];
	const submit = async (e) => {
		e.preventDefault();
		set({ busy: true, error: null, result: null });
		try {
			set({ busy: false, error: null, result: await call('POST', 'policy/preview', { text, ...(listener ? { listener } : {}), count: 100 }) });
		} catch (error) {
			set({ busy: false, error, result: null });
			showLine(box.current, /^NEW:(\d+)/.exec(error.errors?.[0]?.detail ?? '')?.[1]);
		}
	};
	return html`<section class="card"><h2>${t('policy.propose')}</h2><p class="dim small">${t('policy.propose-help')}</p><form onSubmit=${submit}>
		<label>${t('policy.text')}<textarea ref=${box} class="mono" rows="10" spellcheck=${false} maxlength="200000" required value=${text} onInput=${(e) => setText(e.currentTarget.value)}></textarea></label>
		<div class="row">${inForce.length > 1 && html`<label>${t('device.listener')}<select onChange=${(e) => setListener(e.currentTarget.value)}><option value="">${t('all')}</option>${inForce.map((x) => html`<option value=${x.listener}>${plain(x.listener, 60)}</option>`)}</select></label>`}
		<button type="button" disabled=${!textOf(one)} onClick=${() => setText(textOf(one))}>${t('policy.take')}</button><button class="main" disabled=${state.busy}>${t('policy.preview')}</button></div></form>
		<${Trouble} error=${state.error} />${state.busy && html`<${Busy} />`}<div role="status">${state.result && html`<${Result} r=${state.result} />`}</div></section>`;
}

/** The line with the mistake is chosen, and in sight. */
function showLine(/** @type {HTMLTextAreaElement} */ area, /** @type {string | undefined} */ number) {
	if (!area || !number)
		return;
	const lines = area.value.split('\n'), n = Math.min(Number(number), lines.length) - 1;
	const from = lines.slice(0, n).reduce((sum, l) => sum + l.length + 1, 0);
	area.focus();
	area.setSelectionRange(from, from + (lines[n]?.length ?? 0));
	area.scrollTop = (area.scrollHeight / lines.length) * Math.max(0, n - 3);
}

export function Policy({ route, me }) {
	const rules = useLoad(() => (me.platform ? all('policy/rules') : Promise.resolve([])), 'rules');
	const [text, setText] = useState(''), box = useRef(null), inForce = rules.data ?? [];
	const tryFix = (a) => {
		const x = inForce.find((r) => r.listener === a.listener) ?? inForce[0], begin = text || textOf(x);
		setText(`${begin}${begin && !begin.endsWith('\n') ? '\n' : ''}${a.fix}\n`);
		box.current?.focus();
		box.current?.scrollIntoView({ block: 'center' });
	};
	return html`<div class="head"><h1>${t('page.policy')}</h1></div><${Ask} me=${me} route=${route} listeners=${inForce.map((x) => x.listener)} onTry=${me.platform ? tryFix : null} />
		${me.platform && html`<section class="card"><h2>${t('policy.rules')}</h2><p class="dim small">${t('policy.rules-help')}</p><${Trouble} error=${rules.error} again=${rules.load} />${!rules.data && !rules.error && html`<${Busy} />`}
		${rules.data?.length === 0 && html`<${Empty} title=${t('policy.no-listener')}>${t('policy.no-listener-help')}<//>`}${inForce.map((x) => html`<${Rules} key=${x.listener} x=${x} />`)}</section>
		<${Propose} text=${text} setText=${setText} inForce=${inForce} box=${box} />`}`;
}
