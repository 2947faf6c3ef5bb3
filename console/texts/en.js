// Every text that people read, by its key; {name} stands for a value.
/** @type {Record<string, string>} */
export const texts = {
	'menu': 'Pages',
	'skip': 'To the content',
	'in-tenant': 'in {tenant}',
	'sign-out': 'Sign out',
	'theme.auto': 'Colours: system',
	'theme.light': 'Colours: light',
	'theme.dark': 'Colours: dark',
	'loading': 'Loading …',
	'what-to-do': 'What to do',
	'try-again': 'Try again',
	'close': 'Close',
	'cancel': 'Cancel',

	'signin.user': 'User name',
	'signin.password': 'Password',
	'signin.go': 'Sign in',
	'signin.busy': 'Signing in …',
	'signin.lost': 'Your session has ended. Sign in again to go on where you were.',
	'signin.help': 'An administrator makes users. The first one: signet control --make-admin NAME',
};
