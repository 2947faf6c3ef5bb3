// Certificates as a table, with what can be done to one: here and with a device.
import { call, get, part } from '../lib/api.js';
import { Further, Pager, usePages } from '../lib/paging.js';
import { to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Badge, Busy, Confirm, Empty, html, Name, plain, save, Trouble, useState, When } from '../lib/ui.js';
import { issue } from './device-add.js';

const reasons = ['keyCompromise', 'cessationOfOperation', 'superseded', 'affiliationChanged', 'privilegeWithdrawn', 'unspecified'];
export const SOON = 30 * 86400e3; // ms before its end in which a certificate is said to end soon

/** Its certificate: the state of what it has, and when that ends. */
export function Has({ d }) {
	if (d.certificate === 'none')
		return html`<span class="dim">${t('none')}</span>`;
	const state = d.certificate === 'active' && Date.parse(d.certificate_until) < Date.now() + SOON ? 'expiring' : d.certificate;
	return html`<${Badge} state=${state} text=${state === 'active' ? t('ca.valid') : undefined} />${d.certificate_until && html` <${When} time=${d.certificate_until} />`}`;
}

const pathOf = (c) => `certificates/${part(c.ca)}/${c.serial}`;

function Revoke({ c, onClose }) {
	const [reason, set] = useState(reasons[0]);
	return html`<${Confirm} title=${t('cert.revoke')} text=${t('cert.revoke-text', { name: plain(c.cn, 64) })} action=${t('cert.revoke')} onClose=${onClose}
		onYes=${() => call('POST', pathOf(c) + '/revoke', { reason })}>
		<label>${t('cert.reason')}<select value=${reason} onChange=${(e) => set(e.currentTarget.value)}>
			${reasons.map((r) => html`<option value=${r}>${t('reason.' + r)}</option>`)}</select></label><//>`;
}

/** Another key and certificate in the place of <c>, whose files <onFiles> gets. */
const Renew = ({ c, device, onFiles, onClose }) => html`<${Confirm} title=${t('cert.renew')} text=${t('cert.renew-text')} action=${t('cert.renew')} danger=${false}
	onClose=${onClose} onYes=${async () => onFiles((await issue(device, pathOf(c) + '/renew')).files)} />`;

const isOver = (c) => c.not_after && Date.parse(c.not_after) < Date.now();

function Row({ c, act, renewable }) {
	const name = html`<${Name} value=${c.cn} />`, good = c.state === 'active' || c.state === 'superseded';
	const button = (what, look = '') => html`<button type="button" class=${look} onClick=${() => act(c, what)}>${t('cert.' + what)}</button>`;
	return html`<tr><td>${c.device ? html`<a href=${to('devices', c.device)}>${name}</a>` : name}</td><td class="opt">${plain(c.ca)}</td>
		<td class="mono small opt">${plain(c.serial, 16)}</td>
		<td><${Badge} state=${c.state === 'active' && isOver(c) ? 'expired' : c.state} />${c.reason ? html` <span class="small dim">${plain(c.reason)}</span>` : ''}</td>
		<td><${When} time=${c.not_after} /></td>
		<td class="actions">${c.own && html`${renewable && good && button('renew')}${c.state === 'hold' && button('release')}${good && button('hold')}
			${c.state !== 'revoked' && button('revoke', 'danger')}`}${button('save')}${!c.own && html`<p class="dim small">${t('cert.not-ours')}</p>`}</td></tr>`;
}

const heads = ['cert.name', 'cert.ca', 'cert.serial', 'devices.state', 'devices.until', 'cert.actions'];

/** The page of certificates that <query> asks for; another <turn> asks again. With a <device> they can be renewed. */
export function Certificates({ query: want, turn = 0, device = null, onFiles = null }) {
	const [asking, ask] = useState(null), [failed, setFailed] = useState(null);
	const pages = usePages('certificates', want, { turn }), { data, error, load } = pages;
	const act = async (c, what) => {
		setFailed(null);
		if (what === 'revoke' || what === 'renew')
			return ask({ c, what });
		try {
			if (what === 'save')
				save(`${c.serial}.pem`, [(await get(pathOf(c))).pem ?? ''], 'application/x-pem-file');
			else
				await call('POST', `${pathOf(c)}/${what}`);
			await load();
		} catch (x) {
			setFailed(x);
		}
	};
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	const close = () => (ask(null), load());
	return html`<${Trouble} error=${failed ?? error} />
		${data.items.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label=${t('device.certificates')}><table>
			<thead><tr>${heads.map((h) => html`<th class=${h === 'cert.ca' || h === 'cert.serial' ? 'opt' : ''}>${t(h)}</th>`)}</tr></thead>
			<tbody>${data.items.map((c) => html`<${Row} key=${c.ca + c.serial} c=${c} act=${act} renewable=${!!device} />`)}</tbody></table></div>`}
		${data.items.length === 0 && (data.next ? html`<${Further} pages=${pages} />` : html`<${Empty} title=${t('cert.none')}>${t('cert.none-help')}<//>`)}
		<${Pager} pages=${pages} />
		${asking?.what === 'revoke' && html`<${Revoke} c=${asking.c} onClose=${close} />`}
		${asking?.what === 'renew' && html`<${Renew} c=${asking.c} device=${device} onFiles=${onFiles} onClose=${close} />`}`;
}
