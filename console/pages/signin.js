// Signing in: name and password, or the link that the first start shows.
import { signIn, signInByLink } from '../lib/session.js';
import { t } from '../lib/text.js';
import { html, Trouble, useEffect, useRef, useState } from '../lib/ui.js';

export function SignIn({ lost }) {
	const [state, set] = useState({ busy: false, error: null });
	const user = useRef(null), password = useRef(null);
	const attempt = async (how) => {
		set({ busy: true, error: null });
		try {
			await how();
		} catch (error) {
			set({ busy: false, error });
			password.current?.focus();
		}
	};
	useEffect(() => {
		const link = /^#link=([0-9a-f]+)$/.exec(location.hash)?.[1];
		user.current.focus();
		if (link) {
			// Not into the history: it is a secret for as long as it is good.
			history.replaceState(null, '', location.pathname);
			attempt(() => signInByLink(link));
		}
	}, []);
	const submit = (e) => {
		e.preventDefault();
		attempt(() => signIn(user.current.value.trim(), password.current.value));
	};
	return html`<main class="lone" id="main"><form onSubmit=${submit} class="card">
		<h1><img src="icon.svg" alt="" width="32" height="32" /> Signet</h1>
		${lost && html`<p role="status">${t('signin.lost')}</p>`}
		<label>${t('signin.user')}<input ref=${user} name="username" autocomplete="username" autocapitalize="none" spellcheck=${false} required maxlength="128" /></label>
		<label>${t('signin.password')}<input ref=${password} name="password" type="password" autocomplete="current-password" required maxlength="512" /></label>
		<${Trouble} error=${state.error} />
		<button class="main" disabled=${state.busy}>${state.busy ? t('signin.busy') : t('signin.go')}</button>
		<p class="dim small">${t('signin.help')}</p></form></main>`;
}
