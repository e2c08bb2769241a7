package vddk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	govcfault "github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func (l *lab) spoil(t *testing.T, r fault.Rule) {
	t.Helper()
	r.Service = fault.Disk
	if _, err := l.rules.Add(r); err != nil {
		t.Fatal(err)
	}
}

func frozen(t *testing.T) *lab {
	t.Helper()
	l := start(t, vcenter.VMSpec{PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}}})
	l.write(t, 0, random(4*mib))
	l.freeze(t)
	return l
}

func TestFaultsOfCalls(t *testing.T) {
	cut := int64(1000)
	for name, c := range map[string]struct {
		rule fault.Rule
		want string // "": it works
	}{
		"an error for one extent":   {fault.Rule{Operation: "Read", Offset: 3 * mib, Length: 512, Effect: fault.Effect{Code: "16000"}}, "asynchronous read failed: One of the parameters supplied is invalid"},
		"an open that fails":        {fault.Rule{Operation: "Open", Effect: fault.Effect{Code: "14009"}}, "VixDiskLib_Open: [datastore1] vm/vm.vmdk: The server refused connection"},
		"a connect that fails":      {fault.Rule{Operation: "Connect", Effect: fault.Effect{Code: "18000", Message: "gone fishing"}}, "gone fishing"},
		"a connection that breaks":  {fault.Rule{Operation: "Read", Skip: 1, Effect: fault.Effect{Reset: &cut}}, "The connection was lost"},
		"a session that ends":       {fault.Rule{Operation: "Read", Skip: 1, Count: 1, Effect: fault.Effect{Logout: true}}, "The connection was lost"},
		"a library that crashes":    {fault.Rule{Operation: "Read", Effect: fault.Effect{Crash: "SIGSEGV"}}, "nbdcopy"},
		"a library that aborts":     {fault.Rule{Operation: "Read", Effect: fault.Effect{Crash: "SIGABRT"}}, "nbdcopy"},
		"a disk that has shrunk":    {fault.Rule{Operation: "Open", Effect: fault.Effect{Capacity: 2 * mib}}, ""},
		"a slow host":               {fault.Rule{Effect: fault.Effect{Delay: fault.Duration(10 * time.Millisecond)}}, ""},
		"a narrow line":             {fault.Rule{Operation: "Read", Effect: fault.Effect{Rate: 32 * mib}}, ""},
		"somebody else's bad luck":  {fault.Rule{Object: "other", Effect: fault.Effect{Code: "1"}}, ""},
		"extents that cannot be":    {fault.Rule{Operation: "QueryAllocatedBlocks", Skip: 1, Effect: fault.Effect{Code: "1"}}, "VixDiskLib_QueryAllocatedBlocks: Unknown error"},
		"the name of the VM":        {fault.Rule{Object: "vm", Operation: "Open", Effect: fault.Effect{Code: "1"}}, "Unknown error"},
		"the file of the disk":      {fault.Rule{Object: "[datastore1] vm/*", Operation: "Read", Effect: fault.Effect{Code: "7"}}, "A file access error"},
		"the host that it lives on": {fault.Rule{Server: "vc1/*", Operation: "Open", Effect: fault.Effect{Code: "1"}}, "Unknown error"},
	} {
		l := frozen(t)
		l.spoil(t, c.rule)
		_, stderr, err := l.run(t, []string{"-r"}, read)
		if (err == nil) != (c.want == "") || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: got %v, want %q\n%s", name, err, c.want, errorsOf(stderr))
		}
	}
}

func TestADiskThatHasGrownHoldsZerosBehind(t *testing.T) {
	l := frozen(t)
	l.spoil(t, fault.Rule{Operation: "Open", Effect: fault.Effect{Capacity: 6 * mib}})
	got, stderr, err := l.run(t, []string{"-r"}, `nbdcopy "$uri" -`)
	if err != nil || len(got) != 6*mib || !bytes.Equal(got[4*mib:], make([]byte, 2*mib)) {
		t.Errorf("got %d bytes, %v\n%s", len(got), err, errorsOf(stderr))
	}
}

func TestACallThatHangsGoesOnWhenTheRuleIsGone(t *testing.T) {
	l := frozen(t)
	l.spoil(t, fault.Rule{Operation: "Read", Count: 1, Effect: fault.Effect{Hang: true}})
	go func() {
		for l.rules.List()[0].Hits == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		_ = l.rules.Clear()
	}()
	if _, stderr, err := l.run(t, []string{"-r"}, read); err != nil {
		t.Errorf("got %v\n%s", err, errorsOf(stderr))
	}
}

func TestCallsAreLogged(t *testing.T) {
	l := frozen(t)
	if _, _, err := l.run(t, []string{"-r"}, read); err != nil {
		t.Fatal(err)
	}
	for operation, want := range map[string]string{"Connect": "", "Open": "[datastore1] vm/vm.vmdk", "Read": "[datastore1] vm/vm.vmdk"} {
		calls := l.rules.Calls(fault.Rule{Service: fault.Disk, Operation: operation}, 0)
		if len(calls) == 0 || calls[0].Object != want || want != "" && (calls[0].Name != "vm" || calls[0].User != user) {
			t.Errorf("%s: got %+v, want one about %q", operation, calls, want)
		}
	}
}

// state is what vCenter tells about the VM.
func (l *lab) state(t *testing.T) (vm mo.VirtualMachine) {
	t.Helper()
	if err := l.object().Properties(t.Context(), l.object().Reference(), []string{"runtime", "snapshot"}, &vm); err != nil {
		t.Fatal(err)
	}
	return vm
}

func (l *lab) consolidate(t *testing.T) (*object.Task, error) {
	t.Helper()
	res, err := methods.ConsolidateVMDisks_Task(t.Context(), l.client.Client, &types.ConsolidateVMDisks_Task{This: l.object().Reference()})
	if err != nil {
		return nil, err
	}
	return object.NewTask(l.client.Client, res.Returnval), nil
}

func finish(t *testing.T, task *object.Task, err error) error {
	t.Helper()
	if err != nil {
		return err
	}
	return task.Wait(t.Context())
}

func TestADiskThatIsOpenIsInTheWay(t *testing.T) {
	l := frozen(t)
	_, release := l.hold(t)
	consolidate := true
	task, err := l.object().RemoveSnapshot(t.Context(), "x", false, &consolidate)
	if err := finish(t, task, err); err != nil {
		t.Fatal(err)
	}
	vm := l.state(t)
	if vm.Snapshot != nil || !vm.Runtime.ConsolidationNeeded {
		t.Error("the snapshot is not gone, or nothing was left to consolidate")
	}
	task, err = l.consolidate(t)
	if err := finish(t, task, err); !govcfault.Is(err, &types.FileLocked{}) {
		t.Errorf("consolidate: got %v, want FileLocked", err)
	}
	if err := release(); err == nil {
		t.Error("the disk was read to its end after the snapshot was gone")
	}
	l.idle(t)
	task, err = l.consolidate(t)
	if err := finish(t, task, err); err != nil {
		t.Errorf("consolidate once the disk is closed: %v", err)
	}
	if vm := l.state(t); vm.Runtime.ConsolidationNeeded {
		t.Error("there is still something to consolidate")
	}
}

func TestAKilledClientHoldsTheDiskForAWhile(t *testing.T) {
	l := start(t, vcenter.VMSpec{Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})
	nbdkit, release := l.hold(t)
	for name, try := range map[string]func() (*object.Task, error){
		"power on": func() (*object.Task, error) { return l.object().PowerOn(t.Context()) },
		"destroy":  func() (*object.Task, error) { return l.object().Destroy(t.Context()) },
	} {
		task, err := try()
		if err := finish(t, task, err); !govcfault.Is(err, &types.FileLocked{}) {
			t.Errorf("%s: got %v, want FileLocked", name, err)
		}
	}
	if err := nbdkit.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = release()
	if n := l.OpenDisks(); n != 1 {
		t.Errorf("%d disks are open after the kill, want the one that was", n)
	}
	l.idle(t)
	task, err := l.object().PowerOn(t.Context())
	if err := finish(t, task, err); err != nil {
		t.Errorf("power on once the host has noticed: %v", err)
	}
}

func TestWritesKeepOthersOut(t *testing.T) {
	l := start(t, vcenter.VMSpec{ChangeTracking: true, Disks: []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}}})
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, random(4*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	l.spoil(t, fault.Rule{ID: "hold", Operation: "Write", Effect: fault.Effect{Hang: true}})
	done := make(chan error)
	go func() {
		_, _, err := l.run(t, nil, `nbdcopy --flush "`+source+`" "$uri"`)
		done <- err
	}()
	for l.rules.List()[0].Hits == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if _, stderr, err := l.run(t, []string{"-r"}, read); err == nil || !strings.Contains(stderr, "The file is already in use") {
		t.Errorf("reading meanwhile: got %v\n%s", err, errorsOf(stderr))
	}
	task, err := l.object().CreateSnapshot(t.Context(), "x", "", false, false)
	if err := finish(t, task, err); !govcfault.Is(err, &types.FileLocked{}) {
		t.Errorf("snapshot meanwhile: got %v, want FileLocked", err)
	}
	if err := l.rules.Clear(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("writing: %v", err)
	}
}
