package vddk_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// Reading disks through the double must not be what a benchmark of something
// else measures: 1.5 GB/s and more were wanted of eight disks at a time.
func BenchmarkRead(b *testing.B) {
	const size = 256 * mib
	for _, count := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d disks", count), func(b *testing.B) {
			labs := make([]*lab, count)
			for i := range labs {
				labs[i] = start(b, vcenter.VMSpec{Disks: []vcenter.DiskSpec{{Size: size, Fill: size, Seed: fmt.Sprint(i)}}})
			}
			b.SetBytes(int64(count) * size)
			self, children := cpu(b, syscall.RUSAGE_SELF), cpu(b, syscall.RUSAGE_CHILDREN)
			for b.Loop() {
				var all sync.WaitGroup
				for _, l := range labs {
					all.Go(func() {
						if _, stderr, err := l.run(b, []string{"-r", "-D", "nbdkit.backend.datapath=0"}, `nbdcopy --request-size=2097152 "$uri" null:`); err != nil {
							b.Errorf("%v: %s", err, errorsOf(stderr))
						}
					})
				}
				all.Wait()
			}
			// What a busy machine does not spoil: processor time by the GB.
			gigabytes := float64(b.N) * float64(count) * size / 1e9
			b.ReportMetric((cpu(b, syscall.RUSAGE_SELF)-self)/gigabytes, "simulator-s/GB")
			b.ReportMetric((cpu(b, syscall.RUSAGE_CHILDREN)-children)/gigabytes, "nbdkit+nbdcopy-s/GB")
		})
	}
}

// cpu is the processor time that was used so far, in seconds.
func cpu(b *testing.B, who int) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
