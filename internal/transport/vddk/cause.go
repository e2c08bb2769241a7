package vddk

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/vappvault/vappvault/internal/transport"
)

// The library tells errors by number, nbdkit passes on only their text (table
// in the VDDK Programming Guide, "Virtual Disk API errors"), and its log has
// what the number hides.
var (
	// overloaded is a host without memory or sessions for one transfer more.
	overloaded = regexp.MustCompile(`(?i)nfc error 5\b|NFC_(NO_MEMORY|SESSION_LIMIT)|failed to allocate|out of memory|memory allocation failed|` +
		`too many (open )?(connections|sessions|files|disks)|maximum (number of|allowed)|limit .*(reached|exceeded)|server refused connection`)
	// lost is a line or a session that is no more; another one may do.
	lost = regexp.MustCompile(`(?i)could not be contacted|cannot connect to host|connection .*(lost|reset|closed|timed|broken)|timed? ?out|` +
		`error in communication|broken pipe|session is not authenticated|session .*(expired|invalid)|network (error|is unreachable)|temporar`)
	// unknown is the library's way of saying that the reason is in the log.
	unknown = regexp.MustCompile(`(?i)unknown error|nbdkit-vddk-plugin\(1\)`)
)

// opening gives an error of opening a disk its reason and kind. What is
// neither overload nor a lost line would be the same the next time, so it is a
// refusal.
func opening(log *messages, err error) error {
	errs, hints := log.cause()
	text := strings.Join(append(errs, hints...), "; ")
	kind := transport.ErrRefused
	switch {
	case overloaded.MatchString(text):
		kind = transport.ErrOverloaded
	case lost.MatchString(text):
		kind = transport.ErrBroken
	}
	return fmt.Errorf("%w: open: %s", kind, said(errs, hints, err))
}

// transferring gives an error of reading or writing its reason and kind. An
// error of the library may be gone with another session; where it is not, the
// caller gives up after so many.
func transferring(log *messages, err error) error {
	errs, hints := log.cause()
	kind := transport.ErrBroken
	if overloaded.MatchString(strings.Join(append(errs, hints...), "; ")) {
		kind = transport.ErrOverloaded
	}
	return fmt.Errorf("%w: %s", kind, said(errs, hints, err))
}

// said is what an operator reads: the last errors, and the library's log where
// they do not say a thing.
func said(errs, hints []string, err error) string {
	const most = 2
	vague := true
	for _, e := range errs {
		vague = vague && unknown.MatchString(e)
	}
	if vague { // then the reason is in the log, and what comes after it adds nothing
		errs = append(errs[:min(1, len(errs))], last(hints, most)...)
	}
	if len(errs) == 0 {
		return "nbdkit: " + err.Error()
	}
	return strings.Join(last(errs, most+1), "; ")
}

func last(list []string, n int) []string {
	out := make([]string, 0, n)
	return append(out, list[max(0, len(list)-n):]...)
}
