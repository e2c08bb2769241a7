package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// handleFaults adds what the control socket says about faults and calls.
func (c *Cloud) handleFaults(handle func(string, func(http.ResponseWriter, *http.Request) error)) {
	handle("POST /faults", func(w http.ResponseWriter, r *http.Request) error {
		var rule fault.Rule
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&rule); err != nil {
			return fmt.Errorf("rule: %w", err)
		}
		id, err := c.faults.Add(rule)
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, id)
		return err
	})
	handle("GET /faults", func(w http.ResponseWriter, _ *http.Request) error {
		return json.NewEncoder(w).Encode(c.faults.List())
	})
	handle("DELETE /faults", func(_ http.ResponseWriter, r *http.Request) error {
		return c.faults.Clear(r.URL.Query()["id"]...)
	})
	handle("GET /calls", func(w http.ResponseWriter, r *http.Request) error {
		after, err := strconv.ParseInt(r.FormValue("after"), 10, 64)
		if err != nil {
			return fmt.Errorf("after: %w", err)
		}
		pattern := fault.Rule{
			Service: r.FormValue("service"), Server: r.FormValue("server"), Operation: r.FormValue("operation"),
			Object: r.FormValue("object"), User: r.FormValue("user"),
		}
		if err := c.faults.Check(pattern); err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(c.faults.Calls(pattern, after))
	})
	handle("DELETE /calls", func(http.ResponseWriter, *http.Request) error {
		c.faults.Forget()
		return nil
	})
}

// knownNames refuses a rule for vSphere or VDDK with a method or an error that
// it has not.
func knownNames(r fault.Rule) error {
	if r.Service == fault.Disk {
		if err := vcenter.CheckDiskCall(r.Operation); err != nil {
			return fmt.Errorf("operation: %w", err)
		}
		if err := vcenter.CheckDiskError(r.Code); err != nil {
			return fmt.Errorf("code: %w", err)
		}
	}
	if r.Service != fault.VSphere && r.Service != fault.VSphereTask {
		return nil
	}
	if err := vcenter.CheckMethod(r.Operation); err != nil {
		return fmt.Errorf("operation: %w", err)
	}
	if err := vcenter.CheckFault(r.Code); err != nil {
		return fmt.Errorf("code: %w", err)
	}
	return nil
}

// AddFault adds a rule and returns its id.
func (c *Client) AddFault(ctx context.Context, r fault.Rule) (string, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	return c.text(ctx, http.MethodPost, "/faults", nil, bytes.NewReader(body))
}

// Faults lists the rules.
func (c *Client) Faults(ctx context.Context) ([]fault.Rule, error) {
	var rules []fault.Rule
	return rules, c.decode(ctx, http.MethodGet, "/faults", &rules)
}

// ClearFaults removes rules by their ids, all of them without any.
func (c *Client) ClearFaults(ctx context.Context, ids ...string) error {
	_, err := c.text(ctx, http.MethodDelete, "/faults", url.Values{"id": ids}, nil)
	return err
}

// Calls lists the calls after number n that match the patterns of r.
func (c *Client) Calls(ctx context.Context, r fault.Rule, n int64) ([]fault.Call, error) {
	text, err := c.text(ctx, http.MethodGet, "/calls", url.Values{
		"after": {strconv.FormatInt(n, 10)}, "service": {r.Service}, "server": {r.Server}, "operation": {r.Operation},
		"object": {r.Object}, "user": {r.User},
	}, nil)
	if err != nil {
		return nil, err
	}
	var calls []fault.Call
	return calls, json.Unmarshal([]byte(text), &calls)
}

// ForgetCalls empties the log of calls.
func (c *Client) ForgetCalls(ctx context.Context) error {
	_, err := c.text(ctx, http.MethodDelete, "/calls", nil, nil)
	return err
}
