// Templates: what devices of a kind have in common, and what they can be told.
import { call, part, query } from '../lib/api.js';
import { Fresh } from '../lib/edit.js';
import { Pager, usePages } from '../lib/paging.js';
import { to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Busy, Confirm, Empty, Form, html, Name, plain, Trouble, useRef, useState, When } from '../lib/ui.js';
import { Tabs, useTotals } from './device-tabs.js';

const types = ['dynamic', 'actuator', 'static', 'meta'];
const values = ['bool', 'integer', 'float', 'string', 'geo:point', 'object'];

/** What a person wrote as a value: JSON where it is some, else text. */
function valueOf(/** @type {string} */ text) {
	try {
		return JSON.parse(text);
	} catch {
		return text;
	}
}
const shown = (value) => (value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value));

function Attribute({ a, n, change, remove }) {
	const set = (name) => (e) => change({ ...a, [name]: e.currentTarget.value }), fixed = a.type === 'static' || a.type === 'meta';
	return html`<fieldset class="attribute"><legend>${t('templates.attribute', { n })}</legend>
		<label>${t('templates.name')}<input value=${a.label} required maxlength="64" pattern="[A-Za-z0-9_\\-]+" title=${t('templates.name-help')} spellcheck=${false}
			onInput=${set('label')} /></label>
		<label>${t('templates.type')}<select value=${a.type} onChange=${set('type')}>${types.map((x) => html`<option value=${x}>${t('templates.type-' + x)}</option>`)}</select></label>
		<label>${t('templates.value-type')}<input value=${a.value_type} required maxlength="64" list="value-types" spellcheck=${false} onInput=${set('value_type')} /></label>
		${fixed && html`<label>${t('templates.value')}<input value=${a.value} onInput=${set('value')} /></label>`}
		<button type="button" class="quiet" aria-label=${t('templates.take-out', { n })} onClick=${remove}>✕</button></fieldset>`;
}

function Edit({ template, again = null, onClose }) {
	const next = useRef(0), fresh = (a) => ({ key: next.current++, label: '', type: 'dynamic', value_type: 'float', value: '', ...a });
	const [label, setLabel] = useState(template.label ?? '');
	const [list, setList] = useState(() => (template.attributes ?? []).map((a) => fresh({ ...a, value: shown(a.static_value) })));
	const send = () => {
		const attributes = list.map((a) => ({ label: a.label, type: a.type, value_type: a.value_type,
			...((a.type === 'static' || a.type === 'meta') && a.value !== '' && { static_value: valueOf(a.value) }) }));
		return template.id ? call('PATCH', `templates/${template.id}`, { label, attributes }, template) : call('POST', 'templates', { label, attributes });
	};
	const title = t(template.id ? 'templates.edit' : 'templates.add');
	return html`<${Form} title=${title} action=${t('templates.save')} send=${send} again=${again} onClose=${onClose}>
		<label>${t('devices.label')}<input name="label" value=${label} required maxlength="200" onInput=${(e) => setLabel(e.currentTarget.value)} /></label>
		<datalist id="value-types">${values.map((x) => html`<option value=${x} />`)}</datalist>
		${list.map((a, i) => html`<${Attribute} key=${a.key} a=${a} n=${i + 1} change=${(b) => setList(list.map((x) => (x === a ? b : x)))}
			remove=${() => setList(list.filter((x) => x !== a))} />`)}
		<p><button type="button" onClick=${() => setList([...list, fresh({})])}>${t('templates.more')}</button></p><//>`;
}

const count = (x) => (x.devices >= 1000 ? t('templates.many') : String(x.devices));
const Row = ({ x, edit, remove }) => html`<tr><td><${Name} value=${x.label} /></td>
	<td class="opt">${x.attributes.map((a) => html`<span class="badge ${a.type === 'actuator' ? 'good' : ''}" title=${t('templates.type-' + a.type)}>${plain(a.label, 40)}</span> `)}</td>
	<td class="number"><a href=${'#/devices' + query({ template: x.id })} aria-label=${t('templates.devices-of', { n: count(x), name: plain(x.label, 60) })}>${count(x)}</a></td>
	<td class="opt"><${When} time=${x.updated} /></td>
	<td class="actions"><button type="button" onClick=${() => edit(x)}>${t('templates.change')}</button>
		<button type="button" class="danger" onClick=${() => remove(x)}>${t('device.remove')}</button></td></tr>`;

const Table = ({ items, ...rest }) => html`<div class="scroll below" tabindex="0" role="region" aria-label=${t('page.templates')}><table><thead><tr>
	<th>${t('devices.label')}</th><th class="opt">${t('templates.attributes')}</th><th class="number">${t('page.devices')}</th><th class="opt">${t('templates.updated')}</th><th>${t('cert.actions')}</th></tr></thead>
	<tbody>${items.map((x) => html`<${Row} key=${x.id} x=${x} ...${rest} />`)}</tbody></table></div>`;

export function Templates() {
	const [prefix, setPrefix] = useState(''), [editing, edit] = useState(null), [removing, remove] = useState(null), [turn, setTurn] = useState(0);
	const pages = usePages('templates', { prefix }, { turn }), { data, error, load } = pages, totals = useTotals('');
	const again = () => setTurn((n) => n + 1), closed = () => (edit(null), again());
	return html`<div class="head"><h1>${t('page.templates')}</h1><button class="main" type="button" onClick=${() => edit({})}>${t('templates.add')}</button></div>
		<${Tabs} at="templates" totals=${totals} />
		<form class="row card" role="search" onSubmit=${(e) => e.preventDefault()}><label>${t('templates.search')}<input type="search" value=${prefix} spellcheck=${false}
			onInput=${(e) => setPrefix(e.currentTarget.value)} /></label></form>
		<${Trouble} error=${error} again=${load} />${!data && !error && html`<${Busy} />`}
		${data?.items.length > 0 && html`<${Table} items=${data.items} edit=${edit} remove=${remove} />`}
		${data?.items.length === 0 && (prefix ? html`<${Empty} title=${t('templates.no-match')}>${t('templates.no-match-help')}<//>`
			: html`<${Empty} title=${t('templates.none')}>${t('templates.none-help')}<//>`)}
		<${Pager} pages=${pages} />
		${editing && !editing.id && html`<${Edit} template=${editing} onClose=${closed} />`}
		${editing?.id && html`<${Fresh} path=${`templates/${editing.id}`} title=${t('templates.edit')} onClose=${closed}>${(now, anew) => html`<${Edit} template=${now} again=${anew} onClose=${closed} />`}<//>`}
		${removing && html`<${Confirm} title=${t('device.remove')} text=${t('templates.remove-text', { name: plain(removing.label, 64) })} action=${t('device.remove')}
			onYes=${() => call('DELETE', `templates/${part(String(removing.id))}`)} onClose=${() => (remove(null), again())}>
			${removing.devices > 0 && html`<p>${t('templates.in-use')} <a href=${to('devices') + query({ template: removing.id })}>${t('page.devices')}</a></p>`}<//>`}`;
}
