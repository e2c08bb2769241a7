package mark

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/vappvault/vappvault/internal/process"
)

// Value is what the entry under RunKey says: the run, and the process that
// is at it, whose machine's journal has the rest.
func Value(run string, p process.Process) string { return run + " " + p.Line() }

// ParseValue is the inverse of Value. Run and machine alone will do.
func ParseValue(v string) (run string, p process.Process) {
	f := strings.Fields(v)
	if len(f) == 0 {
		return "", process.Process{}
	}
	return f[0], process.Parse(f[1:])
}

// Description is the description of a snapshot that a run makes.
func Description(run string, p process.Process) string {
	return fmt.Sprintf("made by vappvault and removed at the end of its run %s on %s", run, p.Line())
}

var described = regexp.MustCompile(`\brun \S+ on (\S+ \d+ \S+ \S+)$`)

// ParseDescription returns the process that made a snapshot of ours, if the
// description tells.
func ParseDescription(s string) (p process.Process, ok bool) {
	m := described.FindStringSubmatch(s)
	if m == nil {
		return process.Process{}, false
	}
	return process.Parse(strings.Fields(m[1])), true
}
