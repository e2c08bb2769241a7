// Package process tells one process from another, on whatever machine, and
// whether it still runs.
//
// It answers only what is certain: of another machine's processes, and of
// those in another container, nothing is.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A Process is enough for another process of the machine to tell whether it
// still runs. Started tells it from a later process with
// the same id, Boot one boot and one namespace of process ids from another;
// both are empty where the system does not say.
type Process struct {
	Host    string
	PID     int
	Started string // clock ticks since the boot
	Boot    string // boot id "/" namespace
}

// This returns the process that asks.
func This() (Process, error) {
	host, err := os.Hostname()
	if err != nil {
		return Process{}, fmt.Errorf("host name: %w", err)
	}
	pid := os.Getpid()
	return Process{Host: host, PID: pid, Started: started(pid), Boot: boot()}, nil
}

// Dead reports whether p certainly runs no more, as seen from self. Of
// another machine's processes nothing is certain.
func (p Process) Dead(self Process) bool {
	if p.Host != self.Host {
		return false
	}
	if p.PID <= 0 {
		return true // no process at all
	}
	was, _, _ := strings.Cut(p.Boot, "/")
	is, _, _ := strings.Cut(self.Boot, "/")
	if was != "" && is != "" && was != is {
		return true // the machine was started again since
	}
	if p.Boot != self.Boot {
		return false // in another container, whose processes cannot be seen
	}
	if errors.Is(syscall.Kill(p.PID, 0), syscall.ESRCH) {
		return true
	}
	now := started(p.PID)
	return p.Started != "" && now != "" && now != p.Started
}

// String is what messages call the process.
func (p Process) String() string {
	if p.PID == 0 {
		return p.Host
	}
	return fmt.Sprintf("%s (process %d)", p.Host, p.PID)
}

// Line writes a process as one line of four words; Parse reads it back.
func (p Process) Line() string {
	return fmt.Sprintf("%s %d %s %s", p.Host, p.PID, or(p.Started, "-"), or(p.Boot, "-"))
}

// Parse reads the words of a Line. What is missing stays empty.
func Parse(f []string) (p Process) {
	if len(f) > 0 {
		p.Host = f[0]
	}
	if len(f) < 4 {
		return p
	}
	pid, err := strconv.Atoi(f[1])
	if err != nil || pid <= 0 {
		return p
	}
	p.PID = pid
	p.Started, p.Boot = strings.TrimPrefix(f[2], "-"), strings.TrimPrefix(f[3], "-")
	return p
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
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
