//! The tables as diesel sees them, for both backends; `migrations/` explains the columns.
#![expect(missing_docs, reason = "diesel's macros generate undocumented items; migrations/ documents the columns")]

diesel::table! {
    licenses (id) {
        id -> Text,
        token_id -> Text,
        plan -> Nullable<Text>,
        label -> Nullable<Text>,
        status -> Text,
        scopes -> Text,
        models -> Text,
        allowed_ips -> Text,
        limits -> Text,
        metadata -> Text,
        max_sessions -> Nullable<BigInt>,
        max_session_seconds -> Nullable<BigInt>,
        created_at_us -> BigInt,
        updated_at_us -> BigInt,
        expires_at_us -> Nullable<BigInt>,
        expires_after_first_use_us -> Nullable<BigInt>,
        first_used_at_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Text,
        license_id -> Text,
        own_license -> Bool,
        secret_hash -> Text,
        label -> Nullable<Text>,
        status -> Text,
        created_at_us -> BigInt,
        updated_at_us -> BigInt,
        expires_at_us -> Nullable<BigInt>,
        narrowing -> Text,
        metadata -> Text,
        previous_hash -> Nullable<Text>,
        previous_until_us -> Nullable<BigInt>,
        expires_after_first_use_us -> Nullable<BigInt>,
        first_used_at_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    budgets (id) {
        id -> Text,
        license_id -> Text,
        unit -> Text,
        window_span -> Text,
        window_mode -> Text,
        tz -> Text,
        limit_units -> BigInt,
        used_units -> BigInt,
        reserved_units -> BigInt,
        period_start_us -> BigInt,
        period_end_us -> Nullable<BigInt>,
        key_id -> Text,
        soft_limit_units -> Nullable<BigInt>,
    }
}

diesel::table! {
    budget_slices (budget_id, leaves_at_us) {
        budget_id -> Text,
        leaves_at_us -> BigInt,
        used_units -> BigInt,
    }
}

diesel::table! {
    sessions (id) {
        id -> Text,
        license_id -> Text,
        key_id -> Nullable<Text>,
        model -> Text,
        instance_id -> Text,
        status -> Text,
        end_reason -> Nullable<Text>,
        started_at_us -> BigInt,
        ended_at_us -> Nullable<BigInt>,
        booked_samples -> BigInt,
        leased_samples -> BigInt,
        recorded_samples -> BigInt,
        booked_input_tokens -> BigInt,
        booked_output_tokens -> BigInt,
        recorded_input_tokens -> BigInt,
        recorded_output_tokens -> BigInt,
        epoch -> BigInt,
        resume_hash -> Nullable<Text>,
        resume_until_us -> Nullable<BigInt>,
        away_since_us -> Nullable<BigInt>,
        settings -> Nullable<Text>,
        ack_samples -> BigInt,
        ack_metered -> BigInt,
        end_wanted -> Nullable<Text>,
    }
}

diesel::table! {
    announcements (id) {
        id -> Text,
        version -> BigInt,
    }
}

diesel::table! {
    instances (id) {
        id -> Text,
        seen_at_us -> BigInt,
    }
}

diesel::table! {
    usage_events (session_id, mark_samples, mark_tokens) {
        session_id -> Text,
        mark_samples -> BigInt,
        mark_tokens -> BigInt,
        license_id -> Text,
        key_id -> Nullable<Text>,
        model -> Text,
        samples -> BigInt,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        occurred_at_us -> BigInt,
        requests -> BigInt,
        cached_tokens -> BigInt,
        reasoning_tokens -> BigInt,
        usage_source -> Text,
        route -> Text,
        account -> Nullable<Text>,
    }
}

diesel::table! {
    tickets (secret_hash) {
        secret_hash -> Text,
        license_id -> Text,
        key_id -> Nullable<Text>,
        expires_at_us -> BigInt,
    }
}

diesel::table! {
    audit_log (id) {
        id -> Text,
        occurred_at_us -> BigInt,
        actor -> Text,
        action -> Text,
        subject -> Text,
        detail -> Text,
        request_id -> Text,
        address -> Nullable<Text>,
    }
}

diesel::table! {
    idempotency_keys (id) {
        id -> Text,
        body_hash -> Text,
        subject -> Text,
        created_at_us -> BigInt,
    }
}

diesel::table! {
    cushions (instance_id, license_id, key_id) {
        instance_id -> Text,
        license_id -> Text,
        key_id -> Text,
        units -> BigInt,
        until_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    call_holds (instance_id, license_id, key_id) {
        instance_id -> Text,
        license_id -> Text,
        key_id -> Text,
        tokens -> BigInt,
        requests -> BigInt,
        until_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    upstream_tasks (id) {
        id -> Text,
        license_id -> Text,
        account -> Text,
        created_at_us -> BigInt,
    }
}

diesel::table! {
    accounts (id) {
        id -> Text,
        name -> Text,
        kind -> Text,
        mode -> Text,
        base_url -> Text,
        sealed_credential -> Nullable<Text>,
        models -> Text,
        weight -> BigInt,
        priority -> BigInt,
        max_concurrency -> Nullable<BigInt>,
        state -> Text,
        created_at_us -> BigInt,
        updated_at_us -> BigInt,
    }
}

diesel::table! {
    usage_sums (grain, start_us, license_id, key_id, model) {
        grain -> Text,
        start_us -> BigInt,
        license_id -> Text,
        key_id -> Text,
        model -> Text,
        samples -> BigInt,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cached_tokens -> BigInt,
        reasoning_tokens -> BigInt,
        requests -> BigInt,
        sessions -> BigInt,
    }
}

diesel::table! {
    retention_marks (id) {
        id -> Text,
        kept_from_us -> BigInt,
    }
}

diesel::table! {
    plans (id) {
        id -> Text,
        fields -> Text,
        created_at_us -> BigInt,
        updated_at_us -> BigInt,
    }
}

diesel::table! {
    machines (license_id, fingerprint) {
        license_id -> Text,
        fingerprint -> Text,
        key_id -> Text,
        name -> Nullable<Text>,
        metadata -> Text,
        activated_at_us -> BigInt,
        seen_at_us -> Nullable<BigInt>,
    }
}

diesel::joinable!(api_keys -> licenses (license_id));
diesel::allow_tables_to_appear_in_same_query!(
    licenses,
    api_keys,
    budgets,
    budget_slices,
    sessions,
    instances,
    cushions,
    announcements,
    usage_events,
    usage_sums,
    tickets,
    audit_log,
    idempotency_keys,
    accounts,
    call_holds,
    upstream_tasks,
    plans,
    machines
);
