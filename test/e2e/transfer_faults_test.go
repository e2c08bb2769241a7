package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/sim/fault"
)

// TestMishapsOfABackupOverHTTPS is what befalls the transports that need no
// library: the disk comes, by the same or another one, or it is said why not.
func TestMishapsOfABackupOverHTTPS(t *testing.T) {
	t.Parallel()
	file := func(skip, count int, e fault.Effect) fault.Rule {
		return fault.Rule{ID: "x", Service: fault.Folder, Operation: http.MethodGet, Object: "*-flat.vmdk", Skip: skip, Count: count, Effect: e}
	}
	stream := func(count int, e fault.Effect) fault.Rule {
		return fault.Rule{ID: "x", Service: fault.NFC, Operation: http.MethodGet, Count: count, Effect: e}
	}
	endSessions := func(_ *testing.T, e *env) {
		for _, vc := range e.cloud.VCenters() {
			vc.EndSessions(e.conf.Sites[0].VCenters[0].User)
		}
	}
	hang := fault.Effect{Hang: true}
	cut := int64(300 << 10)
	byFile, byStream := []string{"datastore", "nfc"}, []string{"nfc", "datastore"}
	for _, c := range []struct {
		transports []string
		mishap
		slow int64 // bytes in a second that a stream brings; 0: all
	}{
		{byFile, mishap{"the file is refused in mid-read", file(3, 0, fault.Effect{Status: http.StatusForbidden}), nil, "nfc", ""}, 0},
		{byFile, mishap{"the file is gone in mid-read", file(3, 0, fault.Effect{Status: http.StatusNotFound}), nil, "nfc", ""}, 0},
		{byFile, mishap{"the session of a range ends", file(3, 2, fault.Effect{Logout: true}), nil, "datastore", ""}, 0},
		{byFile, mishap{"ranges are cut", file(2, 4, fault.Effect{Reset: &cut}), nil, "datastore", ""}, 0},
		{byFile, mishap{"all sessions end between ranges", file(3, 1, hang), endSessions, "datastore", ""}, 0},
		{byFile, mishap{"the snapshot is removed between ranges", file(3, 1, hang), removeSnapshots, "", "snapshot"}, 0},
		{byStream, mishap{"the host refuses the session", stream(0, fault.Effect{Status: http.StatusForbidden}), nil, "datastore", ""}, 0},
		{byStream, mishap{"the ticket is not known", stream(1, fault.Effect{Status: http.StatusNotFound}), nil, "nfc", ""}, 0},
		{byStream, mishap{"all sessions end before a stream", stream(1, hang), endSessions, "nfc", ""}, 0},
		{byStream, mishap{"the lease ends in mid-stream", fault.Rule{
			ID: "x", Service: fault.VSphere, Operation: "HttpNfcLeaseProgress", Count: 1, Effect: fault.Effect{Code: "ManagedObjectNotFound"},
		}, nil, "nfc", ""}, 3 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rules := fault.New(1)
			e := newEnvOf(t, rules)
			e.conf.Transports = c.transports
			e.write("wiki01", 0, 0, random(7, 24*mib))
			want, before := e.sums(e.vapp("wiki")), e.sessions()
			if c.slow > 0 {
				for _, vc := range e.cloud.VCenters() {
					vc.Faults().SetLeaseTimeout(6 * time.Second) // kept alive every second
				}
				if _, err := rules.Add(fault.Rule{Service: fault.NFC, Count: 1, Effect: fault.Effect{Rate: c.slow}}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := rules.Add(c.rule); err != nil {
				t.Fatal(err)
			}
			if c.act != nil {
				when(t, rules, c.rule.ID, func() {
					c.act(t, e)
					if err := rules.Clear(c.rule.ID); err != nil {
						t.Error(err)
					}
				})
			}
			a := app.New(app.Options{Config: e.conf, Version: "test"})
			results, err := a.Backup(t.Context(), wiki)
			if err := a.Close(context.Background()); err != nil {
				t.Error(err)
			}
			for _, r := range rules.List() {
				if r.ID == c.rule.ID && r.Hits == 0 {
					t.Error("the rule never acted")
				}
			}
			if err := rules.Clear(); err != nil {
				t.Fatal(err)
			}
			e.settled(before)
			e.tidy(e.vapp("wiki"))
			e.judge(c.mishap, results, err, want)
		})
	}
}
