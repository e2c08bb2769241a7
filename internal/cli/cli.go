// Package cli is the command line: one file per command, with its flags, its
// output and its exit code.
//
// What was asked for goes to standard output, alone, as a table or as JSON
// with a version; everything else goes to standard error. An error is
// printed once, with one line of advice beneath where there is some to give.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/selection"
)

// closeTimeout bounds logging out and closing the repository at the end,
// which happens even after cancellation.
const closeTimeout = 2 * time.Minute

// Main runs the command that args, without the program's name, ask for and
// returns the exit code of the process. The first SIGINT or SIGTERM cancels
// the command, which tidies up; the second ends the process. A terminal that
// goes away (SIGHUP) cancels it, too, and whoever reads what it prints may
// stop to (SIGPIPE): a vApp in maintenance mode is not to pay for either.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer watchSignals(ctx, cancel, stderr)()

	e := &env{stdin: stdin, stdout: stdout, stderr: stderr}
	root := e.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !e.entered {
		// Whatever cobra finds wrong before a command runs is in the words
		// of the user.
		err = &usageError{err}
	}
	code := exitCode(err, ctx.Err() != nil)
	if code == exitPipe {
		return code // as others end when nobody reads on: without a word
	}
	report(stderr, err, code)
	return code
}

// watchSignals has signals cancel the command. The function that it returns
// gives them back what they do by default.
func watchSignals(ctx context.Context, cancel func(), stderr io.Writer) (stop func()) {
	ends, hangup, pipe := make(chan os.Signal, 1), make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(ends, os.Interrupt, syscall.SIGTERM)
	// It comes twice where both the kernel and a shell send it. Under nohup
	// it stays ignored.
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(hangup, syscall.SIGHUP)
	}
	// Never read: what is written then returns an error in place of ending
	// the process.
	signal.Notify(pipe, syscall.SIGPIPE)
	go func() {
		select {
		case <-ends:
			signal.Stop(ends) // the next one does what it does by default
			fmt.Fprintln(stderr, "\nvappvault: cancelling, tidying up; once more to end at once")
		case <-hangup:
			fmt.Fprintln(stderr, "\nvappvault: the terminal is gone: cancelling, tidying up")
		case <-ctx.Done():
		}
		cancel()
	}()
	return func() {
		for _, c := range []chan os.Signal{ends, hangup, pipe} {
			signal.Stop(c)
		}
	}
}

// env is what all commands share.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	configPath     string
	output         string
	verbose        int
	entered        bool // a command has begun to run
}

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "vappvault",
		Short: "Back up and restore the vApps of a VMware Cloud Director",
		Long: `vappvault backs up and restores the vApps of a VMware Cloud Director: all that
the cloud knows about a vApp, all that vSphere knows about its VMs, and every
byte of their disks, as one restore point.

A SELECTOR is ORG/VDC/VAPP or ORG/VDC/VAPP/VM, where * stands for any run of
characters within a name; or urn:…; or the bare name of a vApp, where no other
has it. / @ * and % inside a name are written %2F %40 %2A and %25.

A POINT is the id of a restore point, or SELECTOR@latest, or SELECTOR@TIME for
the newest at or before a time (2026-11-22T08:00, UTC; or RFC 3339).

Exit codes: 0 done, 1 error, 2 usage, 3 partial, 4 damage found, 5 conflict or
busy, 130 cancelled, 141 nobody reads the output.`,
		Args:              cobra.ArbitraryArgs, // so that an unknown command comes here
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&e.configPath, "config", "", "configuration `file` (default ./vappvault.yaml, then the user's folder)")
	flags.StringVarP(&e.output, "output", "o", "table", "output `format`: table or json")
	flags.CountVarP(&e.verbose, "verbose", "v", "log what happens; twice for more")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		e.initCommand(), e.lsCommand(), e.backupCommand(), e.pointsCommand(), e.showCommand(), e.diffCommand(), e.restoreCommand(),
		e.verifyCommand(), e.exportCommand(), e.forgetCommand(), e.maintainCommand(), e.reconcileCommand(), e.repositoryCommand(), e.doctorCommand(),
		e.completionCommand(), e.versionCommand(),
	)
	return root
}

func unknownCommand(cmd *cobra.Command, name string) error {
	text := fmt.Sprintf("unknown command %q", name)
	cmd.SuggestionsMinimumDistance = 2 // edits; cobra sets it only where it words the error itself
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		text += fmt.Sprintf("; did you mean %s?", near[0])
	}
	return &usageError{errors.New(text)}
}

// arguments bounds how many arguments a command takes. What is to be done
// where there are too few is wanted.
func arguments(least, most int, wanted string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return errors.New(wanted)
		case len(args) > most:
			return fmt.Errorf("unexpected argument %q", args[most])
		}
		return nil
	}
}

// run wraps the body of a command: it checks what flags all share.
func (e *env) run(body func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		e.entered = true
		if e.output != "table" && e.output != "json" {
			return usagef("output format %q: want table or json", e.output)
		}
		return body(cmd, args)
	}
}

// withApp does work with the application and its progress on standard error,
// and closes both, so that what is printed afterwards stands beneath.
func (e *env) withApp(ctx context.Context, work func(ctx context.Context, a *app.App, c *config.Config) error) (err error) {
	path, err := config.Find(e.configPath)
	if err != nil {
		return err
	}
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	console := newConsole(e.stderr)
	defer console.Close()
	a := app.New(app.Options{
		Config: c, Logger: e.logger(console), Progress: console.Event, Version: buildInfo().Version,
	})
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, a.Close(ctx))
	}()
	return work(ctx, a, c)
}

func (e *env) logger(w io.Writer) *slog.Logger {
	level := slog.LevelWarn
	switch {
	case e.verbose == 1:
		level = slog.LevelInfo
	case e.verbose > 1:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// checkSelectors refuses malformed selectors as errors of usage, before
// anything is connected to.
func checkSelectors(selectors []string) error {
	for _, s := range selectors {
		if _, err := selection.Parse(s); err != nil {
			return &usageError{err}
		}
	}
	return nil
}

// checkPoints does the same for references to restore points.
func checkPoints(refs []string) error {
	for _, s := range refs {
		if _, err := selection.ParsePoint(s); err != nil {
			return &usageError{err}
		}
	}
	return nil
}

// checkVMPoints does the same where VMs of a point can be meant.
func checkVMPoints(refs []string) error {
	for _, s := range refs {
		if _, err := selection.ParseVMPoint(s); err != nil {
			return &usageError{err}
		}
	}
	return nil
}

// oneOf refuses a flag whose value is not among those it can have.
func oneOf(flag, value string, values ...string) error {
	for _, v := range values {
		if v == value {
			return nil
		}
	}
	last := len(values) - 1
	return usagef("--%s %q: want %s or %s", flag, value, strings.Join(values[:last], ", "), values[last])
}
