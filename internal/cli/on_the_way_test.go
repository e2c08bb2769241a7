package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestHowADiskCameIsToldInAFewWords(t *testing.T) {
	for _, tc := range []struct {
		disk restorepoint.Disk
		want string
	}{
		{restorepoint.Disk{Mode: "full", Transport: "nfc", FullReason: "first restore point"}, "full by nfc (first restore point)"}, // of an older version
		{restorepoint.Disk{Mode: "incremental", Transport: "vddk", TransportMode: "nbdssl", ReadBytes: 10 << 20, Seconds: 2, RetryCount: 1},
			"incremental by vddk/nbdssl, 5.0 MiB/s, 1 retry"},
		{restorepoint.Disk{Mode: "full", Transport: "datastore", Resumed: &restorepoint.Resumed{Bytes: 3 << 30}, RetryCount: 4, FullReason: "asked for"},
			"full by datastore, went on after 3.0 GiB, 4 retries (asked for)"},
	} {
		if got := how(tc.disk); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestWhatHappenedOnTheWayIsShown(t *testing.T) {
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	p := &restorepoint.Point{VMs: []restorepoint.VM{{Ref: restorepoint.Ref{Name: "db\x1b01"}, Disks: []restorepoint.Disk{
		{Label: "Hard disk 1"},
		{
			Label: "Hard disk 2", PassedOver: []restorepoint.PassedOver{{Transport: "vddk", Reason: "no license"}}, NotResumed: "the capacity changed",
			Retries: []restorepoint.Retry{
				{Time: at, Transport: "datastore", Reason: "reset"}, {Time: at, Transport: "datastore", Reason: "503", BackOff: 2},
				{Time: at, Transport: "datastore", Reason: "gone", GaveWay: true},
			},
			RetryCount: 5,
		},
	}}}}
	got := strings.Join(onTheWay(p), "\n")
	for _, want := range []string{
		"disk Hard disk 2: not by vddk: no license", "was not used: the capacity changed", "datastore again: reset",
		"datastore asked for less after 2.0 s: 503", "datastore gave way to the next transport: gone", "and 2 times more",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") || strings.Contains(got, "Hard disk 1") {
		t.Errorf("got %q", got)
	}
}

func TestLinesOfProgressTellTransportAndRate(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(&out)
	clock := time.Unix(0, 0)
	c.now = func() time.Time { return clock }
	e := progress.Event{Kind: progress.Bytes, VM: "vm", Disk: "d", Total: 100 << 20, Transport: "vddk", Rate: 5 << 20}
	c.Event(e)
	clock = clock.Add(40 * time.Second)
	e.Done, e.Retries = 50<<20, 2
	c.Event(e)
	e.Done = e.Total
	c.Event(e)
	want := "vm vm: disk d: 50.0 MiB of 100.0 MiB, 50%, 40s left, 5.0 MiB/s by vddk, 2 retries\nvm vm: disk d: 100.0 MiB in 40s by vddk, 2 retries\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
