package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/datastore"
	"github.com/vappvault/vappvault/internal/transport/nfc"
	"github.com/vappvault/vappvault/internal/vsphere"
)

func TestABusyVCenterIsAskedForLessAndTheBackupCompletes(t *testing.T) {
	t.Parallel()
	e := newBig(t, t.TempDir(), "{perHost: {disks: 2}, perVCenter: {disks: 4, inFlight: 16MiB}}")
	_, err := e.cloud.Faults().Add(fault.Rule{
		Service: fault.Folder, Operation: "GET", Object: "*-flat.vmdk", Skip: 12, Count: 16, Effect: fault.Effect{Status: 503},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := e.extentsSum("big")
	point := e.backup("big")
	d := diskOf(t, point, "vm", 0)
	if point.State != "complete" || d.Transport != "datastore" || d.RetryCount == 0 || len(d.Retries) == 0 || d.Seconds <= 0 {
		t.Fatalf("%s: %+v", point.State, d)
	}
	for _, r := range d.Retries {
		if r.Transport != "datastore" || !strings.Contains(r.Reason, "503") || r.Time.IsZero() || r.GaveWay {
			t.Errorf("%+v", r)
		}
	}
	if d.Retries[0].BackOff <= 0 {
		t.Errorf("no pause: %+v", d.Retries[0])
	}
	// What came before is not read again for it.
	if d.ReadBytes-d.SampleBytes > 172*mib {
		t.Errorf("%d bytes were read of 160 MiB", d.ReadBytes)
	}
	told := false
	for _, ev := range e.events {
		told = told || ev.Transport == "datastore" && ev.Retries > 0
	}
	if !told {
		t.Error("the progress says nothing of it")
	}
	e.same(want)
}

func TestARestoreWaitsForABusyHost(t *testing.T) {
	t.Parallel()
	e := newBig(t, t.TempDir(), "{bandwidth: 400MiB}")
	want := e.extentsSum("big")
	e.backup("big")
	if _, err := e.cloud.Faults().Add(fault.Rule{Service: fault.NFC, Operation: "POST", Count: 1, Effect: fault.Effect{Status: 503}}); err != nil {
		t.Fatal(err)
	}
	e.same(want)
	e.noScratch()
}

// TestARepositoryThatFillsInMidCopy has a file system that is too small, and
// then is not.
func TestARepositoryThatFillsInMidCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := newPowered(t, filepath.Join(dir, "conf"))
	e := newBig(t, dir, "{checkpoint: 16MiB}")
	e.conf.StateDir = t.TempDir() // the journal has room
	ballast := filepath.Join(disk.dir, "ballast")
	disk.run("fallocate", "-l", "330M", ballast)
	a := e.app(nil)
	_, err := a.Backup(t.Context(), app.BackupRequest{Selectors: []string{"big"}, SamplePercent: -1})
	if err == nil || !strings.Contains(err.Error(), "no space left on device") || errors.Is(err, app.ErrPartial) {
		t.Fatalf("got %v", err)
	}
	e.tidy(e.vapp("big"))
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	want := e.extentsSum("big")
	if d := diskOf(t, e.backup("big"), "vm", 0); d.Resumed == nil || d.Resumed.Bytes < often || d.ReadBytes-d.SampleBytes > 172*mib-often {
		t.Errorf("%+v", d)
	}
	e.same(want)
	e.verified()
}

// TestARepositoryThatFailsInMidCopy has the file system under the repository
// go away after a checkpoint, and come back.
func TestARepositoryThatFailsInMidCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := newPowered(t, filepath.Join(dir, "conf"))
	e := newBig(t, dir, "{checkpoint: 16MiB, bandwidth: 150MiB}")
	e.conf.StateDir = t.TempDir() // the journal is elsewhere
	syscall.Sync()
	var cut sync.Once
	a := app.New(app.Options{Config: e.conf, Version: "test", Hook: func(step string) {
		if step == "save checkpoint" {
			cut.Do(func() {
				if err := cutPower(disk.dir); err != nil {
					t.Error(err)
				}
			})
		}
	}})
	_, err := a.Backup(t.Context(), app.BackupRequest{Selectors: []string{"big"}, SamplePercent: -1})
	if err == nil || !strings.Contains(err.Error(), "input/output error") || errors.Is(err, app.ErrPartial) {
		t.Fatalf("got %v", err)
	}
	_ = a.Close(t.Context()) // what could not be written it says
	e.tidy(e.vapp("big"))
	disk.again()
	want := e.extentsSum("big")
	if d := diskOf(t, e.backup("big"), "vm", 0); d.Resumed == nil || d.Resumed.Bytes < often || d.ReadBytes-d.SampleBytes > 172*mib-often {
		t.Errorf("%+v", d)
	}
	e.same(want)
	e.verified()
}

// misfit is a transport that is wrong about how large disks are.
type misfit struct {
	transport.Opener
	by int64
}

type misfitSession struct {
	transport.Session
	by int64
}

type misfitSource struct {
	transport.Source
	by int64
}

func (m misfit) Open(ctx context.Context, vm transport.Frozen) (transport.Session, error) {
	s, err := m.Opener.Open(ctx, vm)
	return misfitSession{s, m.by}, err
}

func (s misfitSession) Disk(ctx context.Context, key int32) (transport.Reader, error) {
	r, err := s.Session.Disk(ctx, key)
	if err != nil {
		return nil, err
	}
	return misfitSource{r.(transport.Source), s.by}, nil
}

func (s misfitSource) Size() int64 { return s.Source.Size() + s.by }

func TestADiskOfAnotherSizeThanVSphereSaysIsNotRead(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	for _, by := range []int64{512, -512} {
		point, err := e.run(func(c *vsphere.Client) []transport.Opener {
			return []transport.Opener{misfit{datastore.NewOpener(c), by}, nfc.NewOpener(c)}
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := diskOf(t, point, "wiki01", 0)
		if point.State != restorepoint.Complete || d.Transport != "nfc" || len(d.Retries) != 1 || !d.Retries[0].GaveWay || !strings.Contains(d.Retries[0].Reason, "vSphere says") {
			t.Errorf("%+v", d)
		}
	}
	_, err := e.run(func(c *vsphere.Client) []transport.Opener {
		return []transport.Opener{misfit{datastore.NewOpener(c), 512}}
	}, nil)
	if !errors.Is(err, backup.ErrNothing) || !strings.Contains(err.Error(), "vSphere says") {
		t.Errorf("got %v", err)
	}
	e.tidy(e.vapp("wiki"))
}
