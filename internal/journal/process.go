package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A process is who holds a claim. Boot tells one boot of the machine, and
// one namespace of process ids, from another; Started tells a process from a
// later one with the same id. Both are empty where the system does not say.
type process struct {
	Host    string
	Boot    string
	PID     int
	Started string
}

func thisProcess() (process, error) {
	host, err := os.Hostname()
	if err != nil {
		return process{}, fmt.Errorf("host name: %w", err)
	}
	pid := os.Getpid()
	return process{Host: host, Boot: boot(), PID: pid, Started: started(pid)}, nil
}

func boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id)) + "/" + namespace
}

// started returns when the process began, in the kernel's clock ticks, or
// "" where that cannot be told.
func started(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// Field 2 is the program's name in parentheses and may hold anything;
	// field 22 is the start time (proc_pid_stat(5)).
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return ""
	}
	return string(fields[19])
}

// dead reports whether p certainly runs no more, as seen from self. Of
// another machine's processes nothing is certain.
func (p process) dead(self process) bool {
	if p.Boot == "" || p.Host != self.Host || p.Boot != self.Boot {
		return false
	}
	if errors.Is(syscall.Kill(p.PID, 0), syscall.ESRCH) {
		return true
	}
	now := started(p.PID)
	return p.Started != "" && now != "" && now != p.Started
}
