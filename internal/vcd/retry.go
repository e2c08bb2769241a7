package vcd

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	firstRetry = 200 * time.Millisecond
	maxRetry   = 10 * time.Second
)

// loginError marks a failed renewal: waiting will not mend it.
type loginError struct{ error }

func (e *loginError) Unwrap() error { return e.error }

// retry calls attempt until its result is final, the client's retry timeout
// has passed, or ctx is done; the last result counts.
func (c *Client) retry(ctx context.Context, r Request, attempt func() (*Response, error)) (*Response, error) {
	wait := c.newBackoff()
	announced := false
	for {
		answer, err := attempt()
		after, again := retryable(r.Method, answer, err)
		if again {
			again = wait.sleep(ctx, after)
		}
		if !again {
			if ctx.Err() != nil && (err != nil || answer.Status >= 300) {
				return nil, ctx.Err()
			}
			return answer, err
		}
		level := slog.LevelDebug
		if err != nil && !announced {
			// Somebody waits in front of this: say why, once.
			level, announced = slog.LevelWarn, true
		}
		c.log.Log(ctx, level, "vCD does not answer; trying again", "for", c.retryTimeout, "method", r.Method, "path", r.path(), "error", err)
	}
}

// An unreachedError is that of a server which has never answered yet. More
// often than it restarts there is none at that address: not waited for. One
// that says it is busy is.
type unreachedError struct{ error }

func (e *unreachedError) Unwrap() error { return e.error }

// first makes the errors of a first call final.
func first(answer *Response, err error) (*Response, error) {
	if err != nil {
		return nil, &unreachedError{err}
	}
	return answer, nil
}

// retryable tells whether to ask again, and not before when. A method other
// than GET, HEAD, PUT and DELETE may have done its work before a connection
// broke, so it is repeated only where the server says that it was not begun.
func retryable(method string, answer *Response, err error) (after time.Duration, again bool) {
	idempotent := method == http.MethodGet || method == http.MethodHead ||
		method == http.MethodPut || method == http.MethodDelete
	if err != nil {
		var untrusted *CertificateError
		var login *loginError
		var unreached *unreachedError
		final := errors.As(err, &untrusted) || errors.As(err, &login) || errors.As(err, &unreached) || errors.Is(err, ErrTooLarge) ||
			errors.Is(err, context.Canceled)
		return 0, idempotent && !final
	}
	if answer.Status < 300 {
		return 0, false
	}
	after, told := retryAfter(answer.Header.Get("Retry-After"))
	switch answer.Status {
	case http.StatusTooManyRequests:
		return after, true
	case http.StatusServiceUnavailable:
		return after, told || idempotent
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return after, idempotent
	}
	_, minor, _ := decodeError(answer)
	return after, minor == busyEntity
}

// retryAfter reads both forms of the header, seconds and a date.
func retryAfter(v string) (d time.Duration, ok bool) {
	v = strings.TrimSpace(v)
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(t)), true
	}
	return 0, false
}

// backoff grows the wait from first to most, within an overall limit.
type backoff struct {
	next, most time.Duration
	until      time.Time // zero for no limit
}

func (c *Client) newBackoff() *backoff {
	return &backoff{
		next: min(firstRetry, c.retryTimeout/8), most: maxRetry,
		until: time.Now().Add(c.retryTimeout),
	}
}

// sleep waits at least atLeast and tells whether another attempt is due. It
// gives up at once when the limit would pass meanwhile.
func (b *backoff) sleep(ctx context.Context, atLeast time.Duration) bool {
	// Half the wait is chance, so that many clients do not return together.
	d := b.next/2 + rand.N(b.next/2+1)
	d = max(d, atLeast)
	b.next = min(b.next*2, b.most)
	if !b.until.IsZero() && time.Now().Add(d).After(b.until) {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
