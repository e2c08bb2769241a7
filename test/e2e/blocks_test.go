package e2e

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/maintenance"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/reconcile"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func changedBlocks(point *restorepoint.Point) app.RestoreRequest {
	return app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true, ChangedBlocks: true}}
}

func TestOnlyChangedBlocksAreWritten(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	want := e.sums(e.vapp("web-shop"))
	files := e.configs(e.vapp("web-shop"))
	point := e.backup(webShop)
	e.write("db01", 1, 1<<20, random(2, 3<<20))
	e.write("web01", 0, 7<<20+100, random(3, 1000))
	spoilt := e.sums(e.vapp("web-shop"))

	result := e.restore(changedBlocks(point))
	after := e.vapp("web-shop")
	e.tidy(after)
	sameSums(t, e.sums(after), want)
	if written := e.written(); written != 4<<20 {
		t.Errorf("%d bytes were written, for 4 MiB of blocks that differ", written)
	}
	for name, c := range e.configs(after) {
		for i, d := range c.Disks {
			if d.FileName != files[name].Disks[i].FileName {
				t.Errorf("vm %s: %s is now %s", name, files[name].Disks[i].FileName, d.FileName)
			}
		}
	}
	safety := e.newest("web-shop")
	if safety.ID == point.ID || len(result.Unexplained()) > 0 {
		t.Errorf("safety point %s, %v", safety.ID, result.Unexplained())
	}

	t.Log("the next backup believes no change ID from before")
	next := e.backup(webShop)
	for _, vm := range next.VMs {
		for _, d := range vm.Disks {
			if d.Mode != "full" || d.Transport != "vddk" {
				t.Errorf("%s %s: %s through %s", vm.Name, d.Label, d.Mode, d.Transport)
			}
		}
	}

	if _, err := e.app(nil).Undo(t.Context(), app.UndoRequest{Which: webShop}); err != nil {
		t.Fatal(err)
	}
	undone := e.vapp("web-shop")
	e.tidy(undone)
	sameSums(t, e.sums(undone), spoilt)
	if _, err := e.app(nil).Undo(t.Context(), app.UndoRequest{Which: webShop}); !errors.Is(err, restore.ErrNothingKept) {
		t.Errorf("undone twice: %v", err)
	}
	e.noOrphans()
}

// written adds up what the last restore told of bytes that it wrote.
func (e *env) written() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	byVM := map[string]int64{}
	for _, ev := range e.events {
		if ev.What == "all disks" {
			byVM[ev.VM] = max(byVM[ev.VM], ev.Done)
		}
	}
	var all int64
	for _, n := range byVM {
		all += n
	}
	return all
}

func TestALieOfChangeTrackingIsFoundOut(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	for off := int64(0); off < 96<<20; off += 1 << 20 { // so much that any sample meets some of it
		e.write("wiki01", 0, off, random(uint64(off), 1000))
	}
	vm := e.vapp("wiki").VMs[0]
	config := e.configs(e.vapp("wiki"))["wiki01"]
	e.cloud.VCenter("vc1").Faults().ForgeCBT(vm.VimInfo.VMMoRef, config.Disks[0].Key, vcenter.Range{Length: config.Disks[0].Capacity})
	q := changedBlocks(point)
	q.NoSafetyPoint = true // which would tell as well
	result := e.restore(q)
	sameSums(t, e.sums(e.vapp("wiki")), want)
	if !slices.ContainsFunc(result.Warnings, func(w string) bool { return strings.Contains(w, "omitted a change") }) {
		t.Errorf("nobody is told: %q", result.Warnings)
	}
}

func TestBlocksAreNotWrittenUnderASnapshotThatAppears(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	point := e.backup("wiki")
	e.write("wiki01", 0, 2<<20, random(4, 1<<20))
	spoilt := e.sums(e.off("wiki"))
	vm := e.vsphere(e.vapp("wiki").VMs[0])
	a := e.app(func(step string) {
		if step == "intend overwrite" {
			if _, err := vm.CreateSnapshot(t.Context(), tenantSnapshot); err != nil {
				t.Error(err)
			}
		}
	})
	q := changedBlocks(point)
	q.NoSafetyPoint = true
	_, err := a.Restore(t.Context(), q)
	if err == nil || !strings.Contains(err.Error(), "snapshot") {
		t.Errorf("got %v", err)
	}
	e.tidy(e.vapp("wiki"))
	e.hasTenantSnapshot("wiki")
	for _, s := range e.configs(e.vapp("wiki"))["wiki01"].Snapshots {
		if err := vm.RemoveSnapshot(t.Context(), s.Ref); err != nil {
			t.Fatal(err)
		}
	}
	sameSums(t, e.sums(e.vapp("wiki")), spoilt)
}

func TestBlocksAreWrittenThoughTheLinkBreaks(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	e.write("wiki01", 0, 2<<20, random(4, 9<<20))
	broken := false
	a := e.app(func(step string) {
		if step == "first block wiki01" && !broken {
			broken = len(e.nbdkits()) > 0
			e.signalAll(syscall.SIGKILL)
		}
	})
	q := changedBlocks(point)
	q.NoSafetyPoint = true
	if _, err := a.Restore(t.Context(), q); err != nil || !broken {
		t.Fatal(broken, err)
	}
	e.tidy(e.vapp("wiki"))
	sameSums(t, e.sums(e.vapp("wiki")), want)
}

// TestHalfWrittenDisksAreFinishedOrWrittenBack kills a restore that writes
// blocks, at each of its steps: nobody can start the vApp, back it up or have it
// settled until it was finished or undone.
func TestHalfWrittenDisksAreFinishedOrWrittenBack(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	for n, step := range []string{
		"intend blocks", "mark written", "first block wiki01", "blocks proven wiki01", "reset tracking wiki01", "blocks written wiki01",
		"apply networks",
	} {
		t.Run(strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			// Change tracking began anew: a point of now is what to go by.
			if n > 0 {
				point = e.backup("wiki")
				want = e.sums(e.vapp("wiki"))
			}
			e.write("wiki01", 0, 2<<20, random(uint64(10+n), 5<<20))
			spoilt := e.sums(e.vapp("wiki"))
			if at, killed := e.dieAfter(step, "restore "+point.ID+" overwrite blocks"); !killed {
				t.Fatalf("there is no such step; the last was %s", at)
			}
			if v := e.vapp("wiki"); !v.InMaintenance {
				t.Error("it is not in maintenance mode")
			}
			if _, err := e.app(nil).Reconcile(t.Context()); !errors.Is(err, reconcile.ErrHalfWritten) || !strings.Contains(err.Error(), "--resume") {
				t.Errorf("reconcile: %v", err)
			}
			if _, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1}); !errors.Is(err, reconcile.ErrHalfWritten) {
				t.Errorf("backup: %v", err)
			}
			if v := e.vapp("wiki"); !v.InMaintenance {
				t.Error("it was let out of maintenance mode")
			}
			if step == "first block wiki01" { // it needs no journal to be known for what it is
				other, elsewhere := e.with(t), *e.conf
				elsewhere.StateDir = t.TempDir()
				other.conf = &elsewhere
				if _, err := other.app(nil).Reconcile(t.Context()); !errors.Is(err, reconcile.ErrHalfWritten) {
					t.Errorf("without the journal: %v", err)
				}
			}
			if n%2 == 0 {
				if _, err := e.app(nil).Resume(t.Context(), "wiki", nil); err != nil {
					t.Fatal(err)
				}
				sameSums(t, e.sums(e.vapp("wiki")), want)
			} else {
				if _, err := e.app(nil).Undo(t.Context(), app.UndoRequest{Which: "wiki"}); err != nil {
					t.Fatal(err)
				}
				sameSums(t, e.sums(e.vapp("wiki")), spoilt)
			}
			e.tidy(e.vapp("wiki"))
			e.noOrphans()
		})
	}
}

// TestWhatIsWrittenBeforeAResumeIsWrittenOver: vCenter's administrator can start
// a VM of which the disks are half written, and switch it off again.
func TestWhatIsWrittenBeforeAResumeIsWrittenOver(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	e.write("wiki01", 0, 2<<20, random(1, 5<<20))
	if at, killed := e.dieAfter("first block wiki01", "restore "+point.ID+" overwrite blocks"); !killed {
		t.Fatalf("there is no such step; the last was %s", at)
	}
	e.write("wiki01", 0, 32<<20+4096, random(2, 1000))
	if _, err := e.app(nil).Resume(t.Context(), "wiki", nil); err != nil {
		t.Fatal(err)
	}
	e.tidy(e.vapp("wiki"))
	sameSums(t, e.sums(e.vapp("wiki")), want)
}

// TestHalfWrittenDisksThatAreGoneAreForgotten: who deletes the vApp needs
// neither of the ways on.
func TestHalfWrittenDisksThatAreGoneAreForgotten(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	point := e.backup("wiki")
	e.write("wiki01", 0, 2<<20, random(1, 5<<20))
	if at, killed := e.dieAfter("first block wiki01", "restore "+point.ID+" overwrite blocks"); !killed {
		t.Fatalf("there is no such step; the last was %s", at)
	}
	vapp := e.vapp("wiki")
	if err := e.vcd.ExitMaintenance(t.Context(), vapp.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := e.app(nil).Reconcile(t.Context()); !errors.Is(err, reconcile.ErrHalfWritten) {
		t.Errorf("while it is there: %v", err)
	}
	// The host keeps a disk locked for a while whose writer was killed.
	err := e.vcd.DeleteVApp(t.Context(), vapp.Href)
	for try := 0; try < 100 && err != nil; try++ {
		time.Sleep(200 * time.Millisecond)
		err = e.vcd.DeleteVApp(t.Context(), vapp.Href)
	}
	if err != nil {
		t.Fatal(err)
	}
	settled, err := e.app(nil).Reconcile(t.Context())
	if err != nil || len(settled) == 0 {
		t.Errorf("settled %v, %v", settled, err)
	}
	if settled, err := e.app(nil).Reconcile(t.Context()); err != nil || len(settled) != 0 {
		t.Errorf("settled again: %v, %v", settled, err)
	}
}

// TestTheMarkStaysUntilAllDisksAreWhole: what a resume finds written of one VM
// says nothing of the next.
func TestTheMarkStaysUntilAllDisksAreWhole(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	point := e.backup(webShop)
	e.write("web01", 0, 1<<20, random(1, 1<<20))
	e.write("db01", 1, 1<<20, random(2, 3<<20))
	second := point.VMs[1].Name
	if at, killed := e.dieAfter("first block "+second, "restore "+point.ID+" overwrite blocks"); !killed {
		t.Fatalf("there is no such step; the last was %s", at)
	}
	marked := 0
	a := e.app(func(step string) {
		if step != "disable relocation" {
			return
		}
		how, err := maintenance.HalfWritten(t.Context(), e.vcd, e.vapp("web-shop").Href)
		if err != nil || how == "" {
			t.Errorf("the mark says %q, %v", how, err)
		}
		marked++
	})
	if _, err := a.Resume(t.Context(), webShop, nil); err != nil || marked != 2 {
		t.Fatal(marked, err)
	}
	if how, err := maintenance.HalfWritten(t.Context(), e.vcd, e.vapp("web-shop").Href); err != nil || how != "" {
		t.Errorf("the mark says %q, %v", how, err)
	}
}

func TestAFailureAmidTheBlocksLeavesThemToAResume(t *testing.T) {
	t.Parallel()
	e, rules := newVDDKFaults(t)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	e.write("wiki01", 0, 2<<20, random(4, 60<<20))
	id := ""
	a := e.app(func(step string) {
		if step == "first block wiki01" && id == "" {
			var err error
			id, err = rules.Add(fault.Rule{Service: fault.Disk, Operation: "Write", Effect: fault.Effect{Code: "16000"}})
			if err != nil {
				t.Error(err)
			}
		}
	})
	result, err := a.Restore(t.Context(), changedBlocks(point))
	if err == nil || id == "" {
		t.Fatalf("%v, rule %q", err, id)
	}
	if !slices.ContainsFunc(result.Warnings, func(w string) bool {
		return strings.Contains(w, "half written") && strings.Contains(w, "restore --resume") && strings.Contains(w, "restore --undo")
	}) {
		t.Errorf("nobody is told how to go on: %q", result.Warnings)
	}
	if !e.vapp("wiki").InMaintenance {
		t.Error("it was let out of maintenance mode")
	}
	// A resume that fails leaves it so, too.
	if _, err := e.app(nil).Resume(t.Context(), "wiki", nil); err == nil {
		t.Error("the resume succeeded")
	}
	if !e.vapp("wiki").InMaintenance {
		t.Error("it was let out of maintenance mode by a resume that failed")
	}
	if err := rules.Clear(id); err != nil {
		t.Fatal(err)
	}
	if _, err := e.app(nil).Resume(t.Context(), "wiki", nil); err != nil {
		t.Fatal(err)
	}
	e.tidy(e.vapp("wiki"))
	sameSums(t, e.sums(e.vapp("wiki")), want)
	e.noNBDKit()
}

// killedAtTheSecondVM is a restore that wrote the first VM's blocks and was
// killed when it had begun with the second's. Want are the sums to come back.
func killedAtTheSecondVM(t *testing.T) (e *env, want map[string]string, first, second string) {
	t.Helper()
	e = newVDDK(t)
	want = e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	e.write("web01", 0, 1<<20, random(1, 1<<20))
	e.write("db01", 1, 1<<20, random(2, 3<<20))
	first, second = point.VMs[0].Name, point.VMs[1].Name
	if at, killed := e.dieAfter("first block "+second, "restore "+point.ID+" overwrite blocks"); !killed {
		t.Fatalf("there is no such step; the last was %s", at)
	}
	return e, want, first, second
}

func TestTheVMsThatAreWrittenStaySoInAResume(t *testing.T) {
	t.Parallel()
	e, want, first, second := killedAtTheSecondVM(t)
	var steps []string
	if _, err := e.app(func(step string) { steps = append(steps, step) }).Resume(t.Context(), webShop, nil); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(steps, "first block "+first) || !slices.Contains(steps, "first block "+second) || slices.Contains(steps, "safety point") {
		t.Errorf("the resume did %q", steps)
	}
	after := e.vapp("web-shop")
	e.tidy(after)
	sameSums(t, e.sums(after), want)
	e.noOrphans()
}

// TestAVMThatWasWrittenIsLookedAtAgainInAResume: somebody may have booted it.
func TestAVMThatWasWrittenIsLookedAtAgainInAResume(t *testing.T) {
	t.Parallel()
	e, want, first, _ := killedAtTheSecondVM(t)
	e.write(first, 0, 5<<20+512, random(3, 2000))
	if _, err := e.app(nil).Resume(t.Context(), webShop, nil); err != nil {
		t.Fatal(err)
	}
	e.tidy(e.vapp("web-shop"))
	sameSums(t, e.sums(e.vapp("web-shop")), want)
}

func TestABusyHostIsWaitedForWhileBlocksAreWritten(t *testing.T) {
	t.Parallel()
	e, rules := newVDDKFaults(t)
	e.conf.VDDK.Timeout = 0 // the default
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	e.write("wiki01", 0, 2<<20, random(4, 30<<20))
	full := fault.Effect{Code: "2", Message: "received NFC error 5 from server: Failed to allocate the requested 1048576 bytes"}
	for _, r := range []fault.Rule{
		{ID: "open", Service: fault.Disk, Operation: "Open", Count: 2, Effect: full},
		{ID: "write", Service: fault.Disk, Operation: "Write", Skip: 3, Count: 2, Effect: full},
	} {
		if _, err := rules.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	q := changedBlocks(point)
	q.NoSafetyPoint = true
	e.restore(q)
	for _, r := range rules.List() {
		if r.Hits != 2 {
			t.Errorf("%s: the host was too busy %d times, want 2", r.ID, r.Hits)
		}
	}
	e.tidy(e.vapp("wiki"))
	sameSums(t, e.sums(e.vapp("wiki")), want)
	e.noNBDKit()
}
