package cli

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/reconcile"
)

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234567 * time.Nanosecond: "1ms", 1234 * time.Millisecond: "1.2s", 3661500 * time.Millisecond: "1h1m2s",
	} {
		if got := took(d); got != want {
			t.Errorf("%d: got %q, want %q", d, got, want)
		}
	}
}

func TestPrint(t *testing.T) {
	table := func(w io.Writer) { row(w, "A", "", "evil\t\x1b[31m"); row(w, "long", "b", "ä") }
	for _, tc := range []struct{ output, want string }{
		{"table", "A     -  evil\ufffd\ufffd[31m\nlong  b  ä\n"},
		{"json", "{\n  \"points\": [],\n  \"version\": 1\n}\n"},
	} {
		var out bytes.Buffer
		e := &env{stdout: &out, output: tc.output}
		if err := e.print("points", []string{}, table); err != nil {
			t.Fatal(err)
		}
		if out.String() != tc.want {
			t.Errorf("%s: got %q, want %q", tc.output, out.String(), tc.want)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestPrintFailsWithItsWriter(t *testing.T) {
	for _, output := range []string{"table", "json"} {
		e := &env{stdout: fullDisk{}, output: output}
		if err := e.print("x", 1, func(w io.Writer) { row(w, "a"); flush(w); row(w, "b") }); err == nil {
			t.Errorf("%s: no error", output)
		}
	}
}

func TestWhatWasSettledIsNamedAsItIsKnown(t *testing.T) {
	const id = "urn:vcloud:vapp:33333333-3333-3333-3333-333333333333"
	for _, test := range []struct {
		settled reconcile.Settled
		want    string
	}{
		{
			reconcile.Settled{VApp: id, Path: "acme/vdc1/web", Kind: "snapshot", Object: "vm-50", Name: "db01", Action: "remove our snapshot"},
			"acme/vdc1/web\tsnapshot\tdb01\tremove our snapshot\t-\n",
		},
		{
			reconcile.Settled{VApp: id, Path: "acme/vdc1/web", Kind: "maintenance", Object: id, Action: "exit maintenance mode"},
			"acme/vdc1/web\tmaintenance\tacme/vdc1/web\texit maintenance mode\t-\n",
		},
		{
			reconcile.Settled{VApp: id, Kind: "swap", Object: "vm-50", Action: "look"},
			id + "\tswap\tvm-50\tlook\t-\n",
		},
	} {
		var out bytes.Buffer
		drawSettled(&out, []reconcile.Settled{test.settled})
		if want := "VAPP\tKIND\tOBJECT\tACTION\tERROR\n" + test.want; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
		if v := viewSettled([]reconcile.Settled{test.settled})[0]; v.VApp != id || v.Object != test.settled.Object {
			t.Errorf("JSON: %+v", v)
		}
	}
}

func TestMaintainTellsWhatIsFreedAndWhatNot(t *testing.T) {
	done := []app.Maintained{{Name: "acme", Before: 3 << 20, After: 1 << 20}, {ID: "grown", Before: 1 << 20, After: 2 << 20}}
	got := draw(func(w *bytes.Buffer) { drawMaintained(w, done, false) })
	for _, want := range []string{"acme\t3.0 MiB\t1.0 MiB\t2.0 MiB", "grown\t1.0 MiB\t2.0 MiB\t0 B", ", 2.0 MiB freed", "--immediate"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := draw(func(w *bytes.Buffer) { drawMaintained(w, done, true) }); strings.Contains(got, "later runs") {
		t.Errorf("nothing is left for later:\n%s", got)
	}
}
