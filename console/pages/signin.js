// Signing in: to control with name and password, or the link that the first start shows; to a broker as its listener has it.
import { enter, signIn, signInByLink } from '../lib/session.js';
import { t } from '../lib/text.js';
import { html, Trouble, useEffect, useRef, useState } from '../lib/ui.js';

/** One try at a time, and what came of the last one. */
function useAttempt(/** @type {() => void} */ failed) {
	const [state, set] = useState({ busy: false, error: null });
	const attempt = async (how) => {
		set({ busy: true, error: null });
		try {
			await how();
		} catch (error) {
			set({ busy: false, error });
			failed();
		}
	};
	return { ...state, attempt };
}

function Card({ state, onSubmit, help, note, children }) {
	return html`<main class="lone" id="main"><form onSubmit=${(e) => (e.preventDefault(), onSubmit())} class="card">
		<h1><img src="icon.svg" alt="" width="32" height="32" /> Signet</h1>
		${note && html`<p role="status">${note}</p>`}${children}
		<${Trouble} error=${state.error} />
		<button class="main" disabled=${state.busy}>${state.busy ? t('signin.busy') : t('signin.go')}</button>
		<p class="dim small">${help}</p></form></main>`;
}

function Fields({ user, password, required }) {
	return html`<label>${t('signin.user')}<input ref=${user} name="username" autocomplete="username" autocapitalize="none" spellcheck=${false} required=${required} maxlength="128" /></label>
		<label>${t('signin.password')}<input ref=${password} name="password" type="password" autocomplete="current-password" required=${required} maxlength="512" /></label>`;
}

export function SignIn({ lost }) {
	const user = useRef(null), password = useRef(null);
	const state = useAttempt(() => password.current?.focus());
	useEffect(() => {
		const link = /^#link=([0-9a-f]+)$/.exec(location.hash)?.[1];
		user.current.focus();
		if (link) {
			// Not into the history: it is a secret for as long as it is good.
			history.replaceState(null, '', location.pathname);
			state.attempt(() => signInByLink(link));
		}
	}, []);
	return html`<${Card} state=${state} onSubmit=${() => state.attempt(() => signIn(user.current.value.trim(), password.current.value))} help=${t('signin.help')} note=${lost && t('signin.lost')}>
		<${Fields} user=${user} password=${password} required=${true} /><//>`;
}

/** To the broker that serves this page: with what its listener takes. */
export function Enter({ mode }) {
	const user = useRef(null), password = useRef(null);
	const state = useAttempt(() => password.current?.focus());
	useEffect(() => user.current?.focus(), []);
	const ways = ['password', 'certificate', 'anonymous'].filter((way) => mode[way]);
	return html`<${Card} state=${state} onSubmit=${() => state.attempt(() => enter(user.current?.value.trim() ?? '', password.current?.value ?? ''))}
			help=${html`${ways.map((way) => t('bare.by-' + way)).join(' ') || t('bare.by-none')} ${t('bare.rights')}`}>
		<p class="dim">${t('bare.title', { host: location.host })}</p>
		${mode.password && html`<${Fields} user=${user} password=${password} required=${ways.length === 1} />`}<//>`;
}
