package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// Requests and expectations of the conformance cases: variables, `$` forms, matching.
// The README of tests/conformance defines them; this is that definition in Go.

const jsonEncoding = "PAYLOAD_ENCODING_JSON"

var (
	variable      = regexp.MustCompile(`\$\{(\w+)\}`)
	wholeVariable = regexp.MustCompile(`^\$\{(\w+)\}$`)
)

// form gives the name and the operand of a `$` form; an empty name for anything else.
func form(value any) (string, any) {
	if object, is := value.(map[string]any); is && len(object) == 1 {
		for name, operand := range object {
			if strings.HasPrefix(name, "$") {
				return name, operand
			}
		}
	}
	return "", nil
}

// expand gives `value` with variables and `$` forms replaced by what they stand for.
func expand(value any, variables map[string]any) (any, error) {
	switch value := value.(type) {
	case string:
		return expandText(value, variables)
	case []any:
		list := make([]any, len(value))
		for index, item := range value {
			expanded, err := expand(item, variables)
			if err != nil {
				return nil, err
			}
			list[index] = expanded
		}
		return list, nil
	case map[string]any:
		if name, operand := form(value); name != "" {
			return expandForm(name, operand, variables)
		}
		object := map[string]any{}
		for key, item := range value {
			expanded, err := expand(item, variables)
			if err != nil {
				return nil, err
			}
			object[key] = expanded
		}
		return object, nil
	}
	return value, nil
}

func expandForm(name string, operand any, variables map[string]any) (any, error) {
	given, err := expand(operand, variables)
	if err != nil {
		return nil, err
	}
	switch name {
	case "$repeat":
		pair := given.([]any)
		return strings.Repeat(pair[0].(string), int(pair[1].(float64))), nil
	case "$text":
		return base64.StdEncoding.EncodeToString([]byte(given.(string))), nil
	case "$hex":
		data, err := hex.DecodeString(strings.ReplaceAll(given.(string), " ", ""))
		return base64.StdEncoding.EncodeToString(data), err
	case "$json":
		data, err := encode(given)
		return map[string]any{
			"encoding": jsonEncoding, "data": base64.StdEncoding.EncodeToString(data),
		}, err
	}
	return nil, fmt.Errorf("%s does not belong into a request", name)
}

// expandText: a string that is one variable becomes its value, of whatever type.
func expandText(value string, variables map[string]any) (any, error) {
	if whole := wholeVariable.FindStringSubmatch(value); whole != nil {
		found, known := variables[whole[1]]
		if !known {
			return nil, fmt.Errorf("there is no variable %q", whole[1])
		}
		return found, nil
	}
	var err error
	text := variable.ReplaceAllStringFunc(value, func(name string) string {
		found, known := variables[variable.FindStringSubmatch(name)[1]]
		if !known {
			err = fmt.Errorf("there is no variable %q", name)
		}
		return fmt.Sprint(found)
	})
	return text, err
}

// match fails unless `actual` is as `pattern` says; captures into `variables`.
func match(pattern, actual any, variables map[string]any, path string) error {
	name, operand := form(pattern)
	switch name {
	case "$capture":
		if actual == nil || actual == "" {
			return fmt.Errorf("%s is absent", path)
		}
		variables[operand.(string)] = actual
		return nil
	case "$not":
		unwanted, err := expand(operand, variables)
		if err == nil && reflect.DeepEqual(unwanted, actual) {
			err = fmt.Errorf("%s is %s", path, text(actual))
		}
		return err
	case "$json":
		wanted, err := expand(operand, variables)
		if err != nil {
			return err
		}
		return matchJSON(wanted, actual, path)
	}
	switch pattern := pattern.(type) {
	case map[string]any:
		if name == "" {
			return matchObject(pattern, actual, variables, path)
		}
	case []any:
		return matchList(pattern, actual, variables, path)
	}
	wanted, err := expand(pattern, variables)
	if err == nil && !reflect.DeepEqual(wanted, actual) {
		err = fmt.Errorf("%s is %s, not %s", path, text(actual), text(wanted))
	}
	return err
}

func matchObject(pattern map[string]any, actual any, variables map[string]any, path string) error {
	object, is := actual.(map[string]any)
	if !is {
		return fmt.Errorf("%s is %s, not an object", path, text(actual))
	}
	for key, item := range pattern {
		if err := match(item, object[key], variables, path+"."+key); err != nil {
			return err
		}
	}
	return nil
}

func matchList(pattern []any, actual any, variables map[string]any, path string) error {
	list, is := actual.([]any)
	if !is || len(list) != len(pattern) {
		return fmt.Errorf("%s is %s, not %d items", path, text(actual), len(pattern))
	}
	for index, item := range pattern {
		if err := match(item, list[index], variables, fmt.Sprintf("%s[%d]", path, index)); err != nil {
			return err
		}
	}
	return nil
}

func matchJSON(wanted, actual any, path string) error {
	payload, _ := actual.(map[string]any)
	if payload["encoding"] != jsonEncoding {
		return fmt.Errorf("%s is %s, not a JSON payload", path, text(actual))
	}
	data, err := base64.StdEncoding.DecodeString(payload["data"].(string))
	if err != nil {
		return err
	}
	var found any
	if err := json.Unmarshal(data, &found); err != nil {
		return err
	}
	if !reflect.DeepEqual(wanted, found) {
		return fmt.Errorf("%s is %s, not %s", path, data, text(wanted))
	}
	return nil
}

func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), err
}

func text(value any) string {
	data, err := encode(value)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
