package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/sim/fault"
)

// newVDDKFaults is newVDDK with a library whose calls end soon, and with rules
// for it.
func newVDDKFaults(t *testing.T) (*env, *fault.Set) {
	t.Helper()
	rules := fault.New(1)
	e := newEnvWith(t, t.TempDir(), cloud.Options{Faults: rules})
	e.withVDDK()
	e.conf.VDDK.Timeout = 2 * time.Second
	return e, rules
}

// when waits for a rule to act for the first time, and calls act then.
func when(t *testing.T, rules *fault.Set, id string, act func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			for _, r := range rules.List() {
				if r.ID == id && r.Hits > 0 {
					act()
					return
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { <-done })
}

// nbdkits are the processes that are nbdkit, children of this one and readers
// or writers of this cloud's disks. They go by their command lines: the plugin
// starts nbdkit anew, as /proc/self/exe.
func (e *env) nbdkits() []int {
	e.t.Helper()
	_, port := e.cloud.DiskPort()
	ours := fmt.Sprintf("\x00nfchostport=%d\x00", port)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		e.t.Fatal(err)
	}
	var out []int
	for _, path := range stats {
		raw, _ := os.ReadFile(path) // it may have ended
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		var pid, parent int
		var state string
		fmt.Sscan(string(raw), &pid)
		_, rest, _ := strings.Cut(string(raw), ") ")
		fmt.Sscan(rest, &state, &parent)
		if parent == os.Getpid() && strings.HasPrefix(string(command), "nbdkit\x00") && strings.Contains(string(command)+"\x00", ours) {
			out = append(out, pid)
		}
	}
	return out
}

func (e *env) signalAll(s syscall.Signal) {
	e.t.Helper()
	all := e.nbdkits()
	if len(all) == 0 {
		e.t.Error("no nbdkit runs")
	}
	for _, pid := range all {
		if err := syscall.Kill(pid, s); err != nil {
			e.t.Error(err)
		}
	}
}

// settled checks that nothing is left of a run: no process, no disk that a
// host holds, no session but the test's own, no snapshot.
func (e *env) settled(sessions map[string]int) {
	e.t.Helper()
	e.noNBDKit()
	for name, vc := range e.cloud.VCenters() {
		for range 100 { // hosts let go of what was killed after a while
			if vc.OpenDisks() == 0 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := vc.OpenDisks(); n != 0 {
			e.t.Errorf("%s: %d disks are open", name, n)
		}
		if n := vc.Sessions(""); n > sessions[name] {
			e.t.Errorf("%s: %d sessions, before it were %d", name, n, sessions[name])
		}
	}
}

func (e *env) sessions() map[string]int {
	out := map[string]int{}
	for name, vc := range e.cloud.VCenters() {
		out[name] = vc.Sessions("")
	}
	return out
}

// A mishap is something that befalls a backup through VDDK.
type mishap struct {
	name string
	rule fault.Rule
	// act happens when the rule acts for the first time; the rule is gone
	// afterwards.
	act func(t *testing.T, e *env)
	via string // the transport that gets the disk in the end; "": none, an error
	say string // that the error, or the point, tells
}

func mishaps() []mishap {
	reading := func(e fault.Effect, count int) fault.Rule {
		return fault.Rule{ID: "x", Service: fault.Disk, Operation: "Read", Count: count, Effect: e}
	}
	opening := func(e fault.Effect, count int) fault.Rule {
		return fault.Rule{ID: "x", Service: fault.Disk, Operation: "Open", Count: count, Effect: e}
	}
	hang := fault.Effect{Hang: true}
	cut := int64(70000)
	bad := reading(fault.Effect{Code: "16000"}, 0)
	bad.Offset, bad.Length = 0, 96<<20
	return []mishap{
		{"nbdkit is killed in mid-read", reading(hang, 1), func(_ *testing.T, e *env) { e.signalAll(syscall.SIGKILL) }, "vddk", ""},
		{"nbdkit stands still", reading(hang, 1), func(_ *testing.T, e *env) { e.signalAll(syscall.SIGSTOP) }, "vddk", ""},
		{"the library crashes", reading(fault.Effect{Crash: "SIGSEGV"}, 1), nil, "vddk", ""},
		{"the library aborts", reading(fault.Effect{Crash: "SIGABRT"}, 1), nil, "vddk", ""},
		{"the library crashes while it opens", opening(fault.Effect{Crash: "SIGSEGV"}, 1), nil, "vddk datastore", ""},
		{"a read fails once", reading(fault.Effect{Code: "16000"}, 1), nil, "vddk", ""},
		{"an extent cannot be read", bad, nil, "datastore", ""},
		{"the host refuses a session for a while", opening(fault.Effect{Code: "14009"}, 2), nil, "vddk", ""},
		{"the host has no memory for a while", opening(fault.Effect{Code: "2", Message: "received NFC error 5 from server: Failed to allocate the requested 1048576 bytes"}, 2), nil, "vddk", ""},
		{"the host never lets us in", opening(fault.Effect{Code: "3014"}, 0), nil, "datastore", ""},
		{"the line breaks", reading(fault.Effect{Reset: &cut}, 1), nil, "vddk", ""},
		{"the line stalls for good", reading(hang, 0), nil, "datastore", ""},
		{"the library's session ends", reading(fault.Effect{Logout: true}, 1), nil, "vddk", ""},
		{"all sessions of vCenter end", reading(hang, 1), func(_ *testing.T, e *env) {
			for _, vc := range e.cloud.VCenters() {
				vc.EndSessions(e.conf.Sites[0].VCenters[0].User)
			}
		}, "vddk", ""},
		{"the disk has shrunk", opening(fault.Effect{Capacity: 64 << 20}, 0), nil, "datastore", ""},
		{"the disk has grown", opening(fault.Effect{Capacity: 128 << 20}, 0), nil, "datastore", ""},
		{"extents are not to be had", fault.Rule{ID: "x", Service: fault.Disk, Operation: "QueryAllocatedBlocks", Effect: fault.Effect{Code: "1"}}, nil, "vddk", ""},
		{"the host is slow", reading(fault.Effect{Delay: fault.Duration(20 * time.Millisecond)}, 0), nil, "vddk", ""},
		{"the snapshot is removed", reading(hang, 1), removeSnapshots, "", "snapshot"},
	}
}

// removeSnapshots takes the snapshots of the vApp wiki away, as an operator
// might who finds them.
func removeSnapshots(t *testing.T, e *env) {
	vm := e.vsphere(e.vapp("wiki").VMs[0])
	config, err := vm.Config(context.Background())
	if err != nil {
		t.Error(err)
		return
	}
	for _, s := range config.Snapshots {
		short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		_ = vm.RemoveSnapshot(short, s.Ref) // what is left to consolidate, is
		cancel()
	}
}

func TestMishapsOfABackupThroughVDDK(t *testing.T) {
	t.Parallel()
	for _, m := range mishaps() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			e, rules := newVDDKFaults(t)
			before := e.sessions()
			want := e.sums(e.vapp("wiki"))
			if _, err := rules.Add(m.rule); err != nil {
				t.Fatal(err)
			}
			if m.act != nil {
				when(t, rules, m.rule.ID, func() {
					m.act(t, e)
					if err := rules.Clear(m.rule.ID); err != nil {
						t.Error(err)
					}
				})
			}
			a := app.New(app.Options{Config: e.conf, Version: "test"})
			results, err := a.Backup(t.Context(), wiki)
			if err := a.Close(context.Background()); err != nil {
				t.Error(err)
			}
			if m.act == nil {
				if rules.List()[0].Hits == 0 {
					t.Error("the rule never acted")
				}
				if err := rules.Clear(); err != nil {
					t.Fatal(err)
				}
			}
			e.settled(before)
			e.tidy(e.vapp("wiki"))
			e.judge(m, results, err, want)
			e.noNBDKit()
		})
	}
}

// judge looks at what became of a backup.
func (e *env) judge(m mishap, results []app.BackupResult, err error, want map[string]string) {
	e.t.Helper()
	if m.via == "" {
		if err == nil || !strings.Contains(err.Error(), m.say) {
			e.t.Errorf("got %v, want an error about %q", err, m.say)
		}
		return
	}
	if err != nil {
		e.t.Errorf("backup: %v", err)
		return
	}
	point := results[0].Point
	if got := transports(point); len(got) != 1 || !slices.Contains(strings.Fields(m.via), got[0]) || point.State != restorepoint.Complete {
		e.t.Errorf("%s through %v, want it complete through %s", point.State, got, m.via)
	}
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "wiki-copy"}})
	sameSums(e.t, e.sums(e.vapp("wiki-copy")), want)
}
