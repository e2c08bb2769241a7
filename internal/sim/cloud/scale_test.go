package cloud

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"testing"
)

// size is how many VMs the benchmarks' cloud has; VCDSIM_VMS asks for more.
func size(t testing.TB) int {
	n, err := strconv.Atoi(os.Getenv("VCDSIM_VMS"))
	if err != nil {
		return 300
	}
	return n
}

func generated(t testing.TB, g Generation) *Inventory {
	t.Helper()
	var text bytes.Buffer
	if err := Generate(&text, g); err != nil {
		t.Fatal(err)
	}
	inventory, err := Parse(text.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return inventory
}

func BenchmarkStart(b *testing.B) {
	vms := size(b)
	for b.Loop() {
		c, err := Start(Options{Inventory: generated(b, Generation{Orgs: vms/150 + 1, VApps: vms / 3, VMs: vms, Disk: 16 << 20}), Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/float64(vms), "heap-B/VM")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
