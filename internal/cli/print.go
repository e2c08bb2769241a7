package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode"
)

// outputVersion is the version of the JSON that -o json prints. Fields may
// be added to a version; none is changed or taken away.
const outputVersion = 1

// print writes the answer of a command: as JSON, value under the given key,
// or as table draws it.
func (e *env) print(key string, value any, table func(w io.Writer)) error {
	return e.printFields(map[string]any{key: value}, table)
}

// printFields is print, of several keys.
func (e *env) printFields(fields map[string]any, table func(w io.Writer)) error {
	if e.output == "json" {
		fields["version"] = outputVersion
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(fields); err != nil {
			return outputError(err)
		}
		return nil
	}
	checked := &errWriter{w: e.stdout}
	tw := newTable(checked)
	table(tw)
	if err := tw.Flush(); err != nil {
		checked.err = err
	}
	if checked.err != nil {
		return outputError(checked.err)
	}
	return nil
}

// errPipe says that nobody reads standard output any more.
var errPipe = fmt.Errorf("output: %w", syscall.EPIPE)

func outputError(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return errPipe
	}
	return fmt.Errorf("output: %w", err)
}

// newTable aligns what row writes, up to a flush.
func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// errWriter keeps the first error, so that drawing a table need not look.
type errWriter struct {
	w   io.Writer
	err error
}

func (w *errWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(p)
	w.err = err
	return n, err
}

// row writes the cells of one row of a table; what an empty cell stands for
// is a dash, so that columns can be counted.
func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		if c = clean(c); c == "" {
			c = "-"
		}
		cells[i] = c
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// clean makes text safe to print: names come from tenants, and a terminal
// obeys control characters.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return '\ufffd'
		}
		return r
	}, s)
}

// stamp words a time so that it can be pasted behind an @.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// took words a duration for people.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
