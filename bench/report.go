package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A report prints sections as they end, and keeps them in a file.
type report struct {
	s           settings
	commit      string // of the checkout, before the results in it are written
	name        string
	out         bytes.Buffer // of the section
	notes       []string
	began       time.Time
	loadAtStart string
}

func newReport(ctx context.Context, s settings) *report {
	return &report{s: s, commit: say(ctx, "git", "-C", s.repo, "describe", "--always", "--dirty")}
}

func (r *report) begin(name, what string) {
	r.out.Reset()
	r.notes = nil
	r.name, r.began, r.loadAtStart = name, time.Now(), load()
	fmt.Fprintf(&r.out, "## %s: %s\n\n", name, what)
	fmt.Fprintf(os.Stderr, "%s …\n", name)
}

// note adds a sentence beneath the section.
func (r *report) note(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !slices.Contains(r.notes, line) {
		r.notes = append(r.notes, line)
	}
}

// head starts a table.
func (r *report) head(columns ...string) {
	r.row(columns...)
	r.row(slices.Repeat([]string{"---"}, len(columns))...)
}

func (r *report) row(cells ...string) {
	fmt.Fprintf(&r.out, "| %s |\n", strings.Join(cells, " | "))
}

// ratioHead starts a table of ratios.
func (r *report) ratioHead() {
	r.head("work", "ours", "against", "theirs", "ratio", "range", "at most", "CPU time")
}

// ratio adds a line: seconds of ours and theirs, run by run. At most 0 means
// that nothing was asked for.
func (r *report) ratio(work, against string, ours, theirs series, most float64) {
	all := ratios(ours.walls(), theirs.walls())
	r.row(work, seconds(median(ours.walls())), against, seconds(median(theirs.walls())),
		fmt.Sprintf("**%.2f**", median(all)), fmt.Sprintf("%.2f–%.2f", slices.Min(all), slices.Max(all)), bound(median(all), most),
		fmt.Sprintf("%.2f", median(ratios(ours.cpus(), theirs.cpus()))))
}

func bound(got, most float64) string {
	if most == 0 {
		return "–"
	}
	return boundText(got, most, func(f float64) string { return fmt.Sprintf("%.2f", f) })
}

func boundText(got, most float64, word func(float64) string) string {
	if got > most {
		return word(most) + ": **missed**"
	}
	return word(most)
}

func seconds(s float64) string {
	if s < 0.1 {
		return fmt.Sprintf("%.1f ms", s*1000)
	}
	return fmt.Sprintf("%.2f s", s)
}

func megabytes(b float64) string { return fmt.Sprintf("%.1f MB", b/1e6) }

// end prints the section and puts it in place of the one of its name.
func (r *report) end(ctx context.Context) error {
	r.out.WriteString("\n")
	for _, n := range r.notes {
		fmt.Fprintf(&r.out, "%s\n", n)
	}
	fmt.Fprintf(&r.out, "Took %s; load %s before, %s after.\n", time.Since(r.began).Round(time.Second), r.loadAtStart, load())
	if r.s.quick {
		fmt.Fprintln(&r.out, "**One run in small sizes**: it works; how fast, this does not tell.")
	}
	fmt.Fprintf(&r.out, "Measured %s by `bench %s` of %s, %s, on %s, %d cores used, %s, %s.\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), strings.Join(os.Args[1:], " "), r.commit,
		runtime.Version(), cpuInfo(), runtime.GOMAXPROCS(0), memInfo(), say(ctx, "uname", "-sr"))
	fmt.Println(r.out.String())
	if r.s.results == "" {
		return nil
	}
	return r.keep()
}

// keep replaces the section in the file of results.
func (r *report) keep() error {
	old, err := os.ReadFile(r.s.results)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	had := map[string]string{}
	for _, part := range regexp.MustCompile(`(?m)^## `).Split(string(old), -1)[min(1, len(old)):] {
		name, _, _ := strings.Cut(part, ":")
		had[name] = "## " + part
	}
	had[r.name] = r.out.String()
	var out strings.Builder
	out.WriteString(preamble)
	for _, s := range sections {
		if text, ok := had[s.name]; ok {
			out.WriteString("\n" + strings.TrimRight(text, "\n") + "\n")
		}
	}
	return os.WriteFile(r.s.results, []byte(out.String()), 0o644) //nolint:gosec // to be read by everybody
}

// preamble says how to read what follows. What was measured when and where
// stands beneath each section: they are not always of one run.
const preamble = `# Results of make bench

Written by the command: do not edit. Ratios are of one run each and their median stands here, not the ratio of medians:
what is compared ran one after the other, in an order that changes. The last column is the ratio of processor time, which
other work on the machine disturbs least. "Warm" is with the repository open, "cold" a whole process. Seconds are medians;
they say nothing about another machine.

The limit reads, hashes (BLAKE3), compresses (zstd's fastest level as its library has it), encrypts (AES-256-GCM) and appends blocks of
1 MiB on all cores, and does nothing else. Tuned, it compresses as ours does: without a checksum, in a window of a block.

Ours opens its repository with a generated key (vappvault repository key); with a password each cold run takes a derivation
longer (BenchmarkOpenRoot). The others are given a password, and derive from it what they do by default.
`

func say(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// field returns what follows a name in one of the kernel's files.
func field(path, name string) string {
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func cpuInfo() string { return field("/proc/cpuinfo", "model name") }
func memInfo() string { return field("/proc/meminfo", "MemTotal") + " of memory" }

func load() string {
	data, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(data), " ")
	return one
}
