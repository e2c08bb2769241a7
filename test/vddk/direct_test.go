package vddk_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// harness builds the library together with a program that calls it.
func harness(t testing.TB, flags ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "direct")
	sources, err := filepath.Glob("lib/*.c")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, "direct/direct.c"}, flags...)
	if out, err := exec.CommandContext(t.Context(), "gcc", append(args, sources...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

func (l *lab) direct(t testing.TB, program string, threads, rounds int) {
	t.Helper()
	host, port := l.DiskPort()
	cmd := exec.CommandContext(t.Context(), program, host, fmt.Sprint(port), l.thumbprint(), user, password, "moref="+l.vm,
		"[datastore1] vm/vm.vmdk", fmt.Sprint(threads), fmt.Sprint(rounds))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// The library is C: what it does to memory, and its threads to each other, the
// compiler's sanitizers look at.
func TestTheLibraryByItself(t *testing.T) {
	l := start(t, vcenter.VMSpec{Disks: []vcenter.DiskSpec{{Size: 16*mib + 512, Fill: 8 * mib}}})
	for _, sanitizer := range []string{"-fsanitize=address,undefined", "-fsanitize=thread"} {
		t.Run(sanitizer, func(t *testing.T) {
			l.direct(t, harness(t, "-O1", sanitizer), 8, 1)
		})
	}
	l.idle(t)
}

// BenchmarkLibrary reads one disk from eight threads, without nbdkit and what
// comes after it.
func BenchmarkLibrary(b *testing.B) {
	const size, threads, rounds = 256 * mib, 8, 4
	l := start(b, vcenter.VMSpec{Disks: []vcenter.DiskSpec{{Size: size, Fill: size}}})
	program := harness(b, "-O2")
	b.SetBytes(size * threads * rounds)
	self, children := cpu(b, syscall.RUSAGE_SELF), cpu(b, syscall.RUSAGE_CHILDREN)
	for b.Loop() {
		l.direct(b, program, threads, rounds)
	}
	gigabytes := float64(b.N) * size * threads * rounds / 1e9
	b.ReportMetric((cpu(b, syscall.RUSAGE_SELF)-self)/gigabytes, "simulator-s/GB")
	b.ReportMetric((cpu(b, syscall.RUSAGE_CHILDREN)-children)/gigabytes, "library-s/GB")
}
