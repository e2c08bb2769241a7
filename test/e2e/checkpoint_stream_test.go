package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/config"
)

// killedStream runs a backup through NFC alone that is killed after so many
// checkpoints. What it left is settled by one reconcile, though its lease holds
// the VM for a while yet.
func (e *env) killedStream(checkpoints int) {
	e.t.Helper()
	path := e.conf.Path()
	raw, err := os.ReadFile(path)
	if err != nil {
		e.t.Fatal(err)
	}
	configure := func(text string) {
		e.t.Helper()
		err := os.WriteFile(path, []byte(text), 0o600)
		if err == nil {
			e.conf, err = config.Load(path)
		}
		if err != nil {
			e.t.Fatal(err)
		}
	}
	leases := e.cloud.VCenter("vc1").Faults()
	leases.SetLeaseTimeout(15 * time.Second) // longer than a removal is tried by itself
	configure(string(raw) + "\ntransports: [nfc]\n")
	e.killed(checkpoints)
	configure(string(raw))
	e.reconcile()
	leases.SetLeaseTimeout(0)
}

// TestAKilledStreamGoesOnThroughASource has a copy begin by NFC, which asks
// nobody what holds data, and another transport go on: without the holes, and
// without a byte that is not as it was frozen.
func TestAKilledStreamGoesOnThroughASource(t *testing.T) {
	t.Parallel()
	const at = 50 * 1024 * mib // between two pieces of data
	for _, tc := range []struct {
		name    string
		between func(e *env)
		resumed int64  // bytes at least
		sample  int64  // of what is called empty, at least
		why     string // not resumed
	}{
		{"at the first attempt", func(*env) {}, 2 * often, 64 * mib, ""},
		{"after another that was killed", func(e *env) {
			e.killed(2)
			e.write("vm", 0, 2*at+mib, make([]byte, 2*mib)) // what may be in neither, either or both
			e.write("vm", 0, 500*1024*mib, random(604, mib))
			e.reconcile()
		}, 4 * often, 0, ""},
		{"not where tracking was reset", func(e *env) {
			for _, on := range []bool{false, true} {
				e.reconfigure("big", types.VirtualMachineConfigSpec{ChangeTrackingEnabled: &on})
				e.cycle()
			}
		}, 0, 64 * mib, "changed block tracking was reset"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := newBig(t, t.TempDir(), "{checkpoint: 16MiB}")
			e.killedStream(2)
			e.write("vm", 0, 0, make([]byte, 2*mib))                // zeros over what is stored
			e.write("vm", 0, 10*1024*mib, random(600, mib))         // a hole that the stream has passed
			e.write("vm", 0, 777*1024*mib, random(601, mib))        // one that it has not reached
			e.write("vm", 0, 19*at+10*mib, make([]byte, 3*mib/2))   // zeros over data that it has not reached
			e.write("vm", 0, 19*at+13*mib+100, random(602, mib/2))  // other data there
			e.write("vm", 0, 1024*1024*mib-mib/2, random(603, 512)) // near the end
			tc.between(e)
			want := e.extentsSum("big")
			point := e.backup("big")
			d := diskOf(t, point, "vm", 0)
			if d.Mode != "full" || d.Transport != "datastore" || !strings.Contains(d.NotResumed, tc.why) || (d.Resumed == nil) != (tc.why != "") {
				t.Fatalf("%+v", d)
			}
			if d.Resumed != nil && d.Resumed.Bytes < tc.resumed {
				t.Errorf("%d bytes were taken over, of %d at least", d.Resumed.Bytes, tc.resumed)
			}
			if most := 180*mib - tc.resumed + 12*mib; d.ReadBytes-d.SampleBytes > most {
				t.Errorf("%d bytes are read, %d of them as a sample; at most %d were missing", d.ReadBytes, d.SampleBytes, most)
			}
			if d.SampleBytes < tc.sample {
				t.Errorf("only %d bytes of what is called empty were looked at", d.SampleBytes)
			}
			e.same(want)
			e.verified()
		})
	}
}

// TestAKilledStreamGoesOnThroughVDDK has the library itself be asked what holds
// data where the stream had not come to.
func TestAKilledStreamGoesOnThroughVDDK(t *testing.T) {
	const at = 50 * 1024 * mib // between two pieces of data
	e := newBig(t, t.TempDir(), "{checkpoint: 16MiB}")
	e.killedStream(2)
	e.withVDDK()
	e.write("vm", 0, 10*1024*mib, random(700, mib))         // a hole that the stream has passed
	e.write("vm", 0, 777*1024*mib, random(701, mib))        // one that it has not reached
	e.write("vm", 0, 19*at+10*mib, make([]byte, 3*mib/2))   // zeros over data that it has not reached
	e.write("vm", 0, 1024*1024*mib-mib/2, random(702, 512)) // near the end
	want := e.extentsSum("big")
	d := diskOf(t, e.backup("big"), "vm", 0)
	if d.Mode != "full" || d.Transport != "vddk" || d.NotResumed != "" || d.Resumed == nil || d.Resumed.Bytes < 2*often {
		t.Fatalf("%+v", d)
	}
	if most := int64(180*mib - 2*often + 12*mib); d.ReadBytes-d.SampleBytes > most {
		t.Errorf("%d bytes are read, %d of them as a sample; at most %d were missing", d.ReadBytes, d.SampleBytes, most)
	}
	if d.SampleBytes < 64*mib {
		t.Errorf("only %d bytes of what is called empty were looked at", d.SampleBytes)
	}
	e.same(want)
	e.verified()
	e.noNBDKit()
}
