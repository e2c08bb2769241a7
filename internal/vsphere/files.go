package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// maxFile is the most that File reads: .vmx and .nvram files are far below.
const maxFile = 16 << 20

// FolderURL returns where a datastore file is served over HTTPS. Requests
// need the session's cookies: use the HTTP client inside Client().
func (c *Client) FolderURL(datacenter, file string) (*url.URL, error) {
	ds, name, ok := splitPath(file)
	if !ok || name == "" {
		return nil, fmt.Errorf("%q is not a datastore path", file)
	}
	u := c.vim.URL()
	u.Path, u.RawPath = "/folder/"+name, ""
	u.RawQuery = url.Values{"dcPath": {datacenter}, "dsName": {ds}}.Encode()
	return u, nil
}

// File reads a small file of the VM, such as "[datastore1] web01/web01.vmx".
// ErrNotFound: it is not there; ErrTooLarge: it has more than 16 MiB.
func (v *VM) File(ctx context.Context, dsPath string) ([]byte, error) {
	data, err := v.file(ctx, dsPath)
	if err != nil {
		return nil, v.fail("file "+dsPath, err)
	}
	return data, nil
}

func (v *VM) file(ctx context.Context, dsPath string) ([]byte, error) {
	dc, err := v.c.datacenterPath(ctx, v.ref)
	if err != nil {
		return nil, err
	}
	u, err := v.c.FolderURL(dc, dsPath)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		data, status, err := v.c.download(ctx, u)
		switch {
		case status == http.StatusUnauthorized && attempt == 1:
			if err := v.c.Renew(ctx); err != nil {
				return nil, err
			}
			continue
		case err != nil && attempt < readAttempts && temporary(err):
			if serr := sleep(ctx, v.c.wait(attempt)); serr != nil {
				return nil, err
			}
			continue
		}
		return data, err
	}
}

// download returns the body and status of one GET.
func (c *Client) download(ctx context.Context, u *url.URL) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	res, err := c.vim.Client.Client.Do(req)
	if err != nil {
		return nil, 0, plainURLError(err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, res.StatusCode, ErrNotFound
	case http.StatusForbidden:
		return nil, res.StatusCode, ErrDenied
	default:
		return nil, res.StatusCode, &url.Error{Op: "GET", URL: u.Path, Err: errors.New(res.Status)}
	}
	if res.ContentLength > maxFile {
		return nil, res.StatusCode, fmt.Errorf("%w: %d bytes", ErrTooLarge, res.ContentLength)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxFile+1))
	if err != nil {
		return nil, res.StatusCode, err
	}
	if len(data) > maxFile {
		return nil, res.StatusCode, ErrTooLarge
	}
	return data, res.StatusCode, nil
}

// PutFile writes a small file of the VM, in its own datacenter, over one that
// is there. The VM must be off. Privilege: Datastore.FileManagement.
func (v *VM) PutFile(ctx context.Context, dsPath string, content []byte) error {
	if err := v.putFile(ctx, dsPath, content); err != nil {
		return v.fail("write file "+dsPath, err)
	}
	return nil
}

func (v *VM) putFile(ctx context.Context, dsPath string, content []byte) error {
	dc, err := v.c.datacenterPath(ctx, v.ref)
	if err != nil {
		return err
	}
	u, err := v.c.FolderURL(dc, dsPath)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		status, err := v.c.upload(ctx, u, content)
		switch {
		case status == http.StatusUnauthorized && attempt == 1:
			if err := v.c.Renew(ctx); err != nil {
				return err
			}
			continue
		case err != nil && attempt < readAttempts && temporary(err):
			if serr := sleep(ctx, v.c.wait(attempt)); serr != nil {
				return err
			}
			continue
		}
		return err
	}
}

// upload returns the status of one PUT.
func (c *Client) upload(ctx context.Context, u *url.URL, content []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), bytes.NewReader(content))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := c.vim.Client.Client.Do(req)
	if err != nil {
		return 0, plainURLError(err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated:
		return res.StatusCode, nil
	case http.StatusForbidden:
		return res.StatusCode, ErrDenied
	}
	return res.StatusCode, &url.Error{Op: "PUT", URL: u.Path, Err: errors.New(res.Status)}
}

// DeleteDisk deletes a virtual disk, descriptor and extents, in the datacenter
// with the given inventory path. A disk that is gone already is no error.
func (c *Client) DeleteDisk(ctx context.Context, datacenter, file string) error {
	dc, err := c.datacenter(ctx, datacenter)
	if err != nil {
		return fmt.Errorf("delete %s: %w", file, err)
	}
	res, err := methods.DeleteVirtualDisk_Task(ctx, c.vim, &types.DeleteVirtualDisk_Task{
		This: c.diskManager(), Name: file, Datacenter: &dc,
	})
	if err == nil {
		_, err = c.await(ctx, res.Returnval)
	}
	if err != nil && !isFault[*types.FileNotFound](err) {
		return fmt.Errorf("delete %s: %w", file, explain(err))
	}
	return nil
}

// MoveDisk moves a virtual disk within a datacenter. It never overwrites.
func (c *Client) MoveDisk(ctx context.Context, datacenter, from, to string) error {
	dc, err := c.datacenter(ctx, datacenter)
	if err != nil {
		return fmt.Errorf("move %s: %w", from, err)
	}
	res, err := methods.MoveVirtualDisk_Task(ctx, c.vim, &types.MoveVirtualDisk_Task{
		This: c.diskManager(), SourceName: from, SourceDatacenter: &dc, DestName: to, DestDatacenter: &dc,
		Force: types.NewBool(false),
	})
	if err == nil {
		_, err = c.await(ctx, res.Returnval)
	}
	if err != nil {
		return fmt.Errorf("move %s to %s: %w", from, to, explain(err))
	}
	return nil
}

func (c *Client) diskManager() types.ManagedObjectReference {
	return *c.vim.ServiceContent.VirtualDiskManager
}

// datacenter finds a datacenter by its inventory path.
func (c *Client) datacenter(ctx context.Context, path string) (types.ManagedObjectReference, error) {
	found, err := object.NewSearchIndex(c.vim).FindByInventoryPath(ctx, path)
	if err != nil {
		return types.ManagedObjectReference{}, fmt.Errorf("datacenter %s: %w", path, explain(err))
	}
	if found == nil || found.Reference().Type != "Datacenter" {
		return types.ManagedObjectReference{}, fmt.Errorf("datacenter %s: %w", path, ErrNotFound)
	}
	return found.Reference(), nil
}
