// Certificates as a table, with what can be done to one: here and with a device.
import { call, get, part, query } from '../lib/api.js';
import { to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Badge, Busy, Confirm, Empty, html, Name, plain, save, Trouble, useLoad, useState, When } from '../lib/ui.js';

const reasons = ['keyCompromise', 'cessationOfOperation', 'superseded', 'affiliationChanged', 'privilegeWithdrawn', 'unspecified'];

function Revoke({ c, onClose }) {
	const [reason, set] = useState(reasons[0]);
	return html`<${Confirm} title=${t('cert.revoke')} text=${t('cert.revoke-text', { name: plain(c.cn, 64) })} action=${t('cert.revoke')} onClose=${onClose}
		onYes=${() => call('POST', `certificates/${part(c.ca)}/${c.serial}/revoke`, { reason })}>
		<label>${t('cert.reason')}<select value=${reason} onChange=${(e) => set(e.currentTarget.value)}>${reasons.map((r) => html`<option value=${r}>${t('reason.' + r)}</option>`)}</select></label><//>`;
}

const Row = ({ c, act, error }) => html`<tr><td>${c.device ? html`<a href=${to('devices', c.device)}><${Name} value=${c.cn} /></a>` : html`<${Name} value=${c.cn} />`}</td><td>${plain(c.ca)}</td>
	<td class="mono small">${plain(c.serial, 16)}</td><td><${Badge} state=${c.state === 'active' && c.not_after && Date.parse(c.not_after) < Date.now() ? 'expired' : c.state} />${c.reason ? html` <span class="small dim">${plain(c.reason)}</span>` : ''}</td><td><${When} time=${c.not_after} /></td>
	<td class="row">${c.state === 'hold' ? html`<button type="button" onClick=${() => act(c, 'release')}>${t('cert.release')}</button>` : ''}
		${c.state === 'active' || c.state === 'superseded' ? html`<button type="button" onClick=${() => act(c, 'hold')}>${t('cert.hold')}</button>` : ''}
		${c.state !== 'revoked' ? html`<button type="button" class="danger" onClick=${() => act(c, 'revoke')}>${t('cert.revoke')}</button>` : ''}
		<button type="button" onClick=${() => act(c, 'save')}>${t('cert.save')}</button></td></tr>`;

/** The page of certificates that <query> asks for; another <turn> asks again. */
export function Certificates({ query: want, turn = 0 }) {
	const [trail, setTrail] = useState(['']), [revoking, revoke] = useState(null), [failed, setFailed] = useState(null);
	const path = 'certificates' + query({ ...want, limit: 50, cursor: trail.at(-1) });
	const { data, error, load } = useLoad(() => get(path), `${path} ${turn}`);
	const act = async (c, what) => {
		setFailed(null);
		if (what === 'revoke')
			return revoke(c);
		try {
			if (what === 'save')
				save(`${c.serial}.pem`, [(await get(`certificates/${part(c.ca)}/${c.serial}`)).pem ?? ''], 'application/x-pem-file');
			else
				await call('POST', `certificates/${part(c.ca)}/${c.serial}/${what}`);
			await load();
		} catch (x) {
			setFailed(x);
		}
	};
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	return html`<${Trouble} error=${failed ?? error} />${data.items.length === 0 ? html`<${Empty} title=${t('cert.none')}>${t('cert.none-help')}<//>`
		: html`<div class="scroll" tabindex="0" role="region" aria-label=${t('device.certificates')}><table><thead><tr><th>${t('cert.name')}</th><th>${t('cert.ca')}</th><th>${t('cert.serial')}</th><th>${t('devices.state')}</th><th>${t('devices.until')}</th><th>${t('cert.actions')}</th></tr></thead>
			<tbody>${data.items.map((c) => html`<${Row} key=${c.ca + c.serial} c=${c} act=${act} />`)}</tbody></table></div>`}
		${(data.next || trail.length > 1) && html`<p class="row pager"><button type="button" disabled=${trail.length < 2} onClick=${() => setTrail(trail.slice(0, -1))}>${t('back')}</button>
			<button type="button" disabled=${!data.next} onClick=${() => setTrail([...trail, data.next])}>${t('next')}</button></p>`}
		${revoking && html`<${Revoke} c=${revoking} onClose=${() => (revoke(null), load())} />`}`;
}
