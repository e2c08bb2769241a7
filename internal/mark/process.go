package mark

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// A Process is who made a change: enough for another process of the machine
// to tell whether it still runs. Started tells it from a later process with
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
	if p.PID == 0 {
		return true // a mark of a program that did not say more
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

// fields writes a process as one line; parseFields reads it back.
func (p Process) fields() string {
	return fmt.Sprintf("%s %d %s %s", p.Host, p.PID, or(p.Started, "-"), or(p.Boot, "-"))
}

func parseFields(f []string) (p Process) {
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

// Value is what the entry under RunKey says: the run, and the process that
// is at it, whose machine's journal has the rest.
func Value(run string, p Process) string { return run + " " + p.fields() }

// ParseValue is the inverse of Value. It reads as well what older programs
// wrote: run and machine.
func ParseValue(v string) (run string, p Process) {
	f := strings.Fields(v)
	if len(f) == 0 {
		return "", Process{}
	}
	return f[0], parseFields(f[1:])
}

// Description is the description of a snapshot that a run makes.
func Description(run string, p Process) string {
	return fmt.Sprintf("made by vappvault and removed at the end of its run %s on %s", run, p.fields())
}

var described = regexp.MustCompile(`\brun \S+ on (\S+ \d+ \S+ \S+)$`)

// ParseDescription returns the process that made a snapshot of ours. An
// older program's snapshot does not tell.
func ParseDescription(s string) (p Process, ok bool) {
	m := described.FindStringSubmatch(s)
	if m == nil {
		return Process{}, false
	}
	return parseFields(strings.Fields(m[1])), true
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
