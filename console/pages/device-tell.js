// What a device is told: its actuators by its templates, the commands of SpringCore readers, and any other message.
import { call, get, part } from '../lib/api.js';
import { to } from '../lib/route.js';
import { command, parameters } from '../lib/springcore.js';
import { t } from '../lib/text.js';
import { Busy, html, Name, plain, Trouble, useLoad, useState } from '../lib/ui.js';

const PREFIX = 'springcard/springcore';

/** A form that sends something: <send> gives the sentence that says what came of it. */
function useSending() {
	const [state, set] = useState({ busy: false, error: null, done: '' });
	const run = async (/** @type {() => Promise<string>} */ send) => {
		set({ busy: true, error: null, done: '' });
		try {
			set({ busy: false, error: null, done: await send() });
		} catch (error) {
			set({ busy: false, error, done: '' });
		}
	};
	return { ...state, run };
}

const Outcome = ({ sending, action, off = false }) => html`<${Trouble} error=${sending.error} />
	<p class="row"><button disabled=${sending.busy || off}>${action}</button><span role="status">${sending.done}</span></p>`;

// ---- actuators ----

/** What a person wrote, as the attribute's type has it. */
function valueOf(/** @type {string} */ type, /** @type {string} */ text) {
	if (type === 'bool' || type === 'boolean')
		return text === 'true';
	if (/^(int|float|double|number)/.test(type) && text.trim() !== '' && Number.isFinite(Number(text)))
		return Number(text);
	try {
		const value = JSON.parse(text);
		return typeof value === 'object' ? value : text;
	} catch {
		return text;
	}
}

function Actuator({ a }) {
	const name = html`<${Name} value=${a.label} /> <span class="dim small">${plain(a.value_type, 40)}</span>`;
	if (a.value_type === 'bool' || a.value_type === 'boolean')
		return html`<label>${name}<select name=${a.label}><option value="">${t('tell.leave')}</option>
			<option value="true">${t('tell.true')}</option><option value="false">${t('tell.false')}</option></select></label>`;
	const numeric = /^(int|float|double|number)/.test(a.value_type);
	return html`<label>${name}<input name=${a.label} spellcheck=${false} type=${numeric ? 'number' : 'text'}
		step=${a.value_type.startsWith('int') ? '1' : 'any'} placeholder=${t('tell.leave')} /></label>`;
}

async function actuatorsOf(/** @type {number[]} */ templates) {
	const found = new Map();
	for (const one of await Promise.all(templates.map((id) => get(`templates/${id}`))))
		for (const a of one.attributes)
			if (a.type === 'actuator')
				found.set(a.label, a);
	return [...found.values()];
}

export function Actuate({ device }) {
	const { data, error, load } = useLoad(() => actuatorsOf(device.templates), device.templates.join());
	const sending = useSending(), [nothing, setNothing] = useState(false);
	const submit = (e) => {
		e.preventDefault();
		const attributes = {};
		for (const [name, text] of new FormData(e.currentTarget))
			if (text !== '')
				attributes[name] = valueOf(data.find((a) => a.label === name).value_type, String(text));
		setNothing(Object.keys(attributes).length === 0);
		if (Object.keys(attributes).length > 0)
			sending.run(async () => {
				const r = await call('POST', `devices/${part(device.id)}/actuate`, { attributes });
				return t(r.connected ? 'tell.there' : r.session ? 'tell.waits' : 'tell.nobody', { topic: plain(r.topic, 200) });
			});
	};
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	if (data.length === 0)
		return html`<p class="dim">${t('tell.no-actuator')} <a href=${to('templates')}>${t('page.templates')}</a></p>`;
	return html`<form onSubmit=${submit}>${data.map((a) => html`<${Actuator} key=${a.id} a=${a} />`)}
		${nothing && html`<p class="fault" role="alert">${t('tell.nothing')}</p>`}<${Outcome} sending=${sending} action=${t('tell.actuate')} /></form>`;
}

// ---- messages ----

const published = async (topic, payload) => t((await call('POST', 'publish', { topic, payload, qos: 1 })).subscribers ? 'device.sent' : 'device.sent-nobody');

function ReaderField({ p, values, set, off }) {
	const change = (name) => (e) => set({ ...values, [name]: e.currentTarget.value });
	const label = html`${t('reader.' + p.name)} <span class="dim small">${p.name}</span>`;
	if (p.kind === 'choice')
		return html`<label>${label}<select name=${p.name} disabled=${off} onChange=${change(p.name)}><option value="">${t('tell.leave')}</option>
			${p.choices.map((c) => html`<option value=${c}>${t('reader.relay-' + c)}</option>`)}</select></label>
			${values[p.name] === 'time' && html`<label>${t('reader.RelayTime')}<input name="RelayTime" type="number" min="1" max="65535" required
				onInput=${change('RelayTime')} /></label>`}`;
	return html`<label>${label}<input name=${p.name} type=${p.kind} min="0" max=${p.max} pattern=${p.pattern} disabled=${off} spellcheck=${false}
		title=${t('reader.' + p.name + '-help')} placeholder=${t('reader.' + p.name + '-help')} onInput=${change(p.name)} /></label>`;
}

/** The commands of a SpringCore reader, with what they are as JSON. */
export function Reader({ device }) {
	const [values, set] = useState(/** @type {Record<string, string>} */ ({})), [prefix, setPrefix] = useState(PREFIX), sending = useSending();
	const said = command(values), text = JSON.stringify(said), topic = `${prefix}/${device.cn}/rdr/cmd`;
	const submit = (e) => {
		e.preventDefault();
		sending.run(() => published(topic, text));
	};
	const signals = ['Buzzer', 'Leds', 'RgbColor', 'RgbMode'];
	return html`<form onSubmit=${submit} class="reader"><div class="fields">${parameters.map((p) => html`<${ReaderField} key=${p.name} p=${p} values=${values} set=${set}
			off=${Boolean(values.Sequence?.trim()) && signals.includes(p.name)} />`)}
			<label>${t('reader.prefix')}<input value=${prefix} required maxlength="32" spellcheck=${false} onInput=${(e) => setPrefix(e.currentTarget.value)} /></label></div>
		<p class="small"><span class="dim">${t('reader.says')}</span> <bdi class="mono name">${plain(topic, 200)}</bdi> <bdi class="mono name">${text}</bdi></p>
		<${Outcome} sending=${sending} action=${t('reader.send')} off=${text === '{}'} /></form>`;
}

/** Any message: topic and text as they are. */
export function Message({ device }) {
	const sending = useSending();
	const submit = (e) => {
		e.preventDefault();
		const f = new FormData(e.currentTarget);
		sending.run(() => published(String(f.get('topic')), String(f.get('payload'))));
	};
	return html`<form onSubmit=${submit}>
		<label>${t('live.topic')}<input name="topic" required spellcheck=${false} defaultValue=${`${PREFIX}/${device.cn}/rdr/cmd`} /></label>
		<label>${t('live.payload')}<textarea name="payload" rows="3" spellcheck=${false}>${'{"Buzzer":200}'}</textarea></label>
		<${Outcome} sending=${sending} action=${t('device.send')} /></form>`;
}
