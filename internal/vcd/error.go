package vcd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// busyEntity is the minorErrorCode of an entity that a task holds. It comes
// with HTTP status 400.
const busyEntity = "BUSY_ENTITY"

// invalidState is that of an operation for which the entity would have to be
// in another state.
const invalidState = "INVALID_STATE"

// An Error is the server's refusal (ErrorType; JSON below /cloudapi). A task
// that failed carries one without method, status and path.
type Error struct {
	Method  string
	Href    string // path of the request
	Status  int    // HTTP status
	Major   int
	Minor   string // minorErrorCode, BUSY_ENTITY
	Message string

	provider bool
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Method != "" {
		fmt.Fprintf(&b, "%s %s: ", e.Method, e.Href)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, "HTTP %d", e.Status)
	}
	if e.Minor != "" {
		if e.Status != 0 {
			b.WriteByte(' ')
		}
		b.WriteString(e.Minor)
	}
	if e.Message != "" {
		if e.Status != 0 || e.Minor != "" {
			b.WriteString(": ")
		}
		b.WriteString(e.Message)
	}
	return b.String()
}

// IsNotFound tells whether the entity is not there. The server says 404, a
// minor code, or 403 with words: "does not exist", or "No access to entity",
// which counts where a system administrator asked, to whom nothing that
// exists is denied. "Either you need some rights or the target entity is
// invalid" does not count: it leaves the question open.
func IsNotFound(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch {
	case e.Status == http.StatusNotFound,
		e.Minor == "NOT_FOUND", e.Minor == "RESOURCE_NOT_FOUND", e.Minor == "ENTITY_NOT_FOUND":
		return true
	}
	return e.Status == http.StatusForbidden && (strings.Contains(e.Message, "does not exist") ||
		e.provider && strings.Contains(e.Message, "No access to entity"))
}

// gone tells whether a request failed because its entity is not there. A task
// that failed for want of something else does not count.
func gone(err error) bool {
	var failed *TaskError
	return IsNotFound(err) && !errors.As(err, &failed)
}

// IsForbidden tells whether the user may not.
func IsForbidden(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusForbidden
}

// IsBusy tells whether a task held the entity, longer than the client waited.
func IsBusy(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Minor == busyEntity
}

// IsState tells whether the entity is in a state that does not allow what was
// asked.
func IsState(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Minor == invalidState
}

func (c *Client) apiError(r Request, answer *Response) *Error {
	major, minor, message := decodeError(answer)
	return &Error{
		Method: r.Method, Href: r.path(), Status: answer.Status,
		Major: major, Minor: minor, Message: message, provider: c.provider,
	}
}

type errorElement struct {
	Message string `xml:"message,attr"`
	Major   int    `xml:"majorErrorCode,attr"`
	Minor   string `xml:"minorErrorCode,attr"`
}

// decodeError reads either form of an error, and copes with neither: a proxy
// answers in HTML. Stack traces are left behind.
func decodeError(answer *Response) (major int, minor, message string) {
	var asJSON struct{ MinorErrorCode, Message string }
	if json.Unmarshal(answer.Body, &asJSON) == nil {
		return 0, asJSON.MinorErrorCode, oneLine(asJSON.Message)
	}
	var asXML errorElement
	if parse(answer.Body, "Error", &asXML) == nil {
		return asXML.Major, asXML.Minor, oneLine(asXML.Message)
	}
	return 0, "", http.StatusText(answer.Status)
}

// oneLine keeps a message from the network fit for a log line.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
	if runes := []rune(s); len(runes) > 1000 {
		return string(runes[:1000]) + "…"
	}
	return s
}
