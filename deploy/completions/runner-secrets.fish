# Completion for runner-secretsd and runner-secrets in fish; read from /etc/fish/conf.d.

# Whether the words typed so far, without options, are the command $argv.
function __runner_secrets_at
    set -l words
    set -l takes
    for word in (commandline -opc)[2..-1]
        if set -q takes[1]
            set -e takes
        else if string match -q -- '-*' $word
            contains -- $word $__runner_secrets_values; and set takes $word
        else
            set -a words $word
        end
    end
    test "$words" = "$argv"; and return
    # Files may stand before it.
    contains -- "$argv" 'policy test' 'audit verify' 'audit query' 'audit export'
    and string match -q -- "$argv *" "$words"
end

set -g __runner_secrets_values --config --token --spec --secret --gitlab --project --group --branch \
    --tag --environment --vault --name --audience --managed-identity --format --public-key --head \
    --from-checkpoint --output --since --until --user --reason --request

function __runner_secrets_command
    set -l above (string split -n ' ' -- $argv[1])
    complete -c runner-secretsd -n "__runner_secrets_at $above" -a $argv[2] -d $argv[3]
end

# Of the command $argv[1]: the option, a flag unless it takes a value, a file or one of some words.
function __runner_secrets_option
    set -l command (string split -n ' ' -- $argv[1])
    set -l more
    switch "$argv[4]"
        case ''
        case file
            set more -r -F
        case value
            set more -x
        case '*'
            set more -x -a $argv[4]
    end
    complete -c runner-secretsd -n "__runner_secrets_at $command" -l $argv[2] -d $argv[3] $more
end

complete -c runner-secretsd -f
__runner_secrets_command '' serve 'Serve until SIGTERM'
__runner_secrets_command '' check-config 'Report every mistake in the configuration'
__runner_secrets_command '' doctor 'Go through everything that has to be right'
__runner_secrets_command '' policy 'Answer questions on the policy'
__runner_secrets_command '' setup 'Print what to create in Azure'
__runner_secrets_command '' audit 'Check and read audit trails'
__runner_secrets_command '' completions 'Print what makes a shell complete'
__runner_secrets_command policy explain 'What a job gets, rule by rule'
__runner_secrets_command policy grants 'Who could read what'
__runner_secrets_command policy test 'Run cases'
__runner_secrets_command setup azure 'Entra and Key Vault'
__runner_secrets_command audit verify 'Whether a trail is whole'
__runner_secrets_command audit query 'Who read which secret'
__runner_secrets_command audit export 'Pack a period of a trail'
__runner_secrets_command completions 'bash zsh fish' Shell

for command in '' serve check-config doctor policy 'policy explain' 'policy grants' 'policy test' \
        setup 'setup azure' audit 'audit verify' 'audit query' 'audit export' completions
    __runner_secrets_option $command help 'Show help'
    if not contains -- $command policy audit setup 'setup azure' completions
        __runner_secrets_option $command config 'The configuration' file
    end
end
for command in 'policy test' 'audit verify' 'audit query' 'audit export'
    complete -c runner-secretsd -n "__runner_secrets_at $command" -F
end
__runner_secrets_option '' version 'Show the version'
for command in doctor 'policy explain' 'policy grants' 'audit verify' 'audit query'
    __runner_secrets_option $command json 'Answer for programs'
end
for command in 'policy grants' 'audit query'
    __runner_secrets_option $command csv 'Answer for spreadsheets'
    __runner_secrets_option $command secret 'Only this secret' value
end
for command in 'audit query' 'audit export'
    __runner_secrets_option $command since 'From this time on' value
    __runner_secrets_option $command until 'Up to this time' value
end
for command in 'audit verify' 'audit export'
    __runner_secrets_option $command public-key 'A key that signed checkpoints' file
end
__runner_secrets_option 'policy explain' token "The job's ID token" file
__runner_secrets_option 'policy explain' spec 'What the job asks for' file
__runner_secrets_option 'audit verify' head 'A record that has to be there' value
__runner_secrets_option 'audit verify' from-checkpoint 'Begin at this checkpoint' file
__runner_secrets_option 'audit query' project 'Of projects like this' value
__runner_secrets_option 'audit query' vault 'From this vault' value
__runner_secrets_option 'audit query' user 'Of pipelines of this user' value
__runner_secrets_option 'audit query' reason 'That ended for this reason' value
__runner_secrets_option 'audit query' request 'Only this request' value
__runner_secrets_option 'audit export' output 'Where to' file
__runner_secrets_option 'setup azure' gitlab "GitLab's address" value
__runner_secrets_option 'setup azure' project 'A project' value
__runner_secrets_option 'setup azure' group 'All projects of a group' value
__runner_secrets_option 'setup azure' branch 'A branch' value
__runner_secrets_option 'setup azure' tag 'A tag' value
__runner_secrets_option 'setup azure' environment 'Only jobs for this environment' value
__runner_secrets_option 'setup azure' protected 'Only protected branches and tags'
__runner_secrets_option 'setup azure' vault 'The vault' value
__runner_secrets_option 'setup azure' secret 'A secret or pattern' value
__runner_secrets_option 'setup azure' name 'What it is called' value
__runner_secrets_option 'setup azure' audience 'The audience' value
__runner_secrets_option 'setup azure' managed-identity 'A managed identity in that group' value
__runner_secrets_option 'setup azure' format 'Commands of az, or Terraform' 'az terraform'

complete -c runner-secrets -f
set -l first 'test (count (commandline -opc)) -eq 1'
complete -c runner-secrets -n $first -a env -d 'Print export lines for eval'
complete -c runner-secrets -n $first -a exec -d 'Run a command with the secrets'
complete -c runner-secrets -n $first -a get -d "Write one secret's bytes"
complete -c runner-secrets -n $first -a explain -d 'What the policy grants of the spec'
complete -c runner-secrets -n $first -a doctor -d 'Go through what has to be right'
complete -c runner-secrets -n $first -a release -d 'Delete the files of a lease now'
complete -c runner-secrets -n $first -l version -d 'Show the version'
complete -c runner-secrets -n 'not __fish_seen_subcommand_from exec' -l help -d 'Show help'
complete -c runner-secrets -n '__fish_seen_subcommand_from doctor explain' -l json -d 'Answer for programs'
complete -c runner-secrets -n '__fish_seen_subcommand_from exec' -x -a '(__fish_complete_subcommand)'
