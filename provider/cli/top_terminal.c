/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The terminal of daxmr top: top.h.
 *
 * Whatever ends us, the terminal is left as it was found: signals that would
 * are blocked from open to close and read from a descriptor, among the keys.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "clock.h"
#include "top.h"

/* Where nobody says how large it is. */
#define ROWS	24
#define COLUMNS 80

/* Another screen than the shell's, no cursor, no line goes on in the next. */
static const char enter[] = "\033[?1049h\033[?25l\033[?7l";
static const char leave[] = "\033[?7h\033[?25h\033[?1049l";
static const char *const styles[] = {
	[TOP_PLAIN] = "",
	[TOP_BOLD] = "\033[1m",
	[TOP_REVERSE] = "\033[7m",
};

static struct {
	int signals; /* descriptor */
	sigset_t mask_before;
	bool has_keys; /* standard input is one, too */
	struct termios before;
	/* Read from it, and not looked at yet. */
	unsigned char byte[64];
	size_t at, bytes;
	/* Of a sequence: 0 none, 1 ESC, 2 the rest; its first number. */
	int sequence;
	unsigned int number;
} terminal;

bool top_terminal_is_there(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && term[0] &&
	       strcmp(term, "dumb") != 0;
}

static int put(const char *text, size_t length)
{
	while (length) {
		ssize_t n = write(STDOUT_FILENO, text, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		length -= (size_t)n;
	}
	return 0;
}

/* From the background this stops us, as any program that wants the terminal. */
static int set_up(void)
{
	struct termios raw = terminal.before;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (terminal.has_keys && tcsetattr(STDIN_FILENO, TCSADRAIN, &raw))
		return -errno;
	return put(enter, strlen(enter));
}

/* From there, too: without SIGTTOU. */
static void put_back(void)
{
	sigset_t ttou, before;

	put(leave, strlen(leave));
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	sigprocmask(SIG_BLOCK, &ttou, &before);
	if (terminal.has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.before);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

int top_terminal_open(void)
{
	static const int caught[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,
				     SIGTSTP, SIGCONT, SIGWINCH};
	sigset_t mask;
	int r;

	sigemptyset(&mask);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigaddset(&mask, caught[i]);
	terminal.has_keys = !tcgetattr(STDIN_FILENO, &terminal.before);
	terminal.signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	if (terminal.signals < 0)
		return -errno;
	fflush(stdout);
	sigprocmask(SIG_BLOCK, &mask, &terminal.mask_before);
	r = set_up();
	if (r)
		top_terminal_close();
	return r;
}

void top_terminal_close(void)
{
	put_back();
	close(terminal.signals);
	sigprocmask(SIG_SETMASK, &terminal.mask_before, NULL);
}

void top_terminal_size(size_t *ret_rows, size_t *ret_columns)
{
	struct winsize size = {0};

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	*ret_rows = size.ws_row ? size.ws_row : ROWS;
	*ret_columns = size.ws_col ? size.ws_col : COLUMNS;
}

/* Past so many characters, not bytes, of UTF-8. */
static const char *skip(const char *text, size_t characters)
{
	while (*text && characters--) {
		text++;
		while (((unsigned char)*text & 0xc0) == 0x80)
			text++;
	}
	return text;
}

static size_t length_of(const char *from, const char *end)
{
	size_t characters = 0;

	for (; from < end; from++)
		characters += ((unsigned char)*from & 0xc0) != 0x80;
	return characters;
}

static void put_line(FILE *to, const struct top_line *line, size_t left,
		     size_t columns)
{
	const char *from = skip(line->text, left);
	const char *end = skip(from, columns);

	/* Before the text: at the last column its last character would go. */
	fprintf(to, "\033[K%s%.*s", styles[line->style], (int)(end - from),
		from);
	if (line->style == TOP_REVERSE)
		fprintf(to, "%*s", (int)(columns - length_of(from, end)), "");
	fputs("\033[m", to);
}

/* All of it is sent at once. */
int top_terminal_show(const struct top_page *page, size_t left)
{
	size_t rows, columns, length;
	char *text = NULL;
	FILE *to = open_memstream(&text, &length);
	int r;

	if (!to)
		return -ENOMEM;
	top_terminal_size(&rows, &columns);
	fputs("\033[H", to);
	for (size_t i = 0; i < page->count && i < rows; i++) {
		if (i)
			fputs("\r\n", to);
		put_line(to, &page->line[i], left, columns);
	}
	/* What is below the last; nothing is where that is the screen's. */
	if (page->count < rows)
		fputs("\r\n\033[J", to);
	r = fclose(to) ? -ENOMEM : put(text, length);
	free(text);
	return r;
}

/* A key, or 0: it goes on. */
static int end_of_sequence(unsigned char byte)
{
	static const int numbered[] = {
		[1] = TOP_KEY_HOME,    [4] = TOP_KEY_END,
		[5] = TOP_KEY_PAGE_UP, [6] = TOP_KEY_PAGE_DOWN,
		[7] = TOP_KEY_HOME,    [8] = TOP_KEY_END,
	};

	switch (byte) {
	case 'A':
		return TOP_KEY_UP;
	case 'B':
		return TOP_KEY_DOWN;
	case 'C':
		return TOP_KEY_RIGHT;
	case 'D':
		return TOP_KEY_LEFT;
	case 'H':
		return TOP_KEY_HOME;
	case 'F':
		return TOP_KEY_END;
	case '~':
		return terminal.number < sizeof(numbered) / sizeof(numbered[0])
			       ? numbered[terminal.number]
			       : 0;
	default:
		return 0;
	}
}

static int decode(unsigned char byte)
{
	if (byte == '\033') {
		terminal.sequence = 1;
		return 0;
	}
	if (terminal.sequence == 1) {
		terminal.sequence = byte == '[' || byte == 'O' ? 2 : 0;
		terminal.number = 0;
		return terminal.sequence ? 0 : byte;
	}
	if (!terminal.sequence)
		return byte;
	if (byte >= '0' && byte <= '9') {
		terminal.number = terminal.number * 10 + (byte - '0');
		return 0;
	}
	/* What has more numbers, or is anything else, ends as these do. */
	if (byte < '@')
		return 0;
	terminal.sequence = 0;
	return end_of_sequence(byte);
}

/* 0: there is none. */
static int next_key(void)
{
	int key = 0;

	while (!key && terminal.at < terminal.bytes)
		key = decode(terminal.byte[terminal.at++]);
	return key;
}

/* False: nobody is there to press any. */
static bool read_keys(void)
{
	ssize_t n = read(STDIN_FILENO, terminal.byte, sizeof(terminal.byte));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	terminal.at = 0;
	terminal.bytes = n > 0 ? (size_t)n : 0;
	return n > 0;
}

static enum top_event take_signals(void)
{
	enum top_event event = TOP_RESIZED;
	struct signalfd_siginfo info;

	while (read(terminal.signals, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGTSTP:
			put_back();
			raise(SIGSTOP);
			break;
		case SIGCONT:
			/* Whoever has stopped us. */
			set_up();
			break;
		case SIGWINCH:
			break;
		default:
			event = TOP_END;
		}
	}
	return event;
}

/* In ms, and no earlier. */
static int rest_ms(int64_t until_ns)
{
	int64_t rest_ns = until_ns - clock_now_ns();

	return rest_ns > 0 ? (int)((rest_ns + 999999) / 1000000) : 0;
}

enum top_event top_terminal_wait(int64_t until_ns, int *ret_key)
{
	struct pollfd sources[2] = {
		{.fd = terminal.signals, .events = POLLIN},
		{.fd = terminal.has_keys ? STDIN_FILENO : -1, .events = POLLIN},
	};

	for (;;) {
		*ret_key = next_key();
		if (*ret_key)
			return TOP_KEY;
		if (poll(sources, 2, rest_ms(until_ns)) < 0 && errno != EINTR)
			return TOP_END;
		if (sources[0].revents)
			return take_signals();
		if (sources[1].revents && !read_keys())
			return TOP_END;
		if (!sources[1].revents && clock_now_ns() >= until_ns)
			return TOP_TIME;
	}
}
