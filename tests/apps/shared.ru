# Looks for anything of one request in the next: env, its strings and its input must be new.
SEEN = { env: {}, strings: {} } # rubocop:disable Style/MutableConstant

run(lambda do |env|
  again = []
  again << 'touched' if env.any? { |_, value| value.is_a?(String) && value.include?(' touched') }
  again << 'env' if SEEN[:env].key?(env.object_id)
  SEEN[:env][env.object_id] = env # kept, so that its id cannot come again by chance
  own = env.select { |_, value| value.is_a?(String) && !value.frozen? }
  own.each { |key, value| again << key if SEEN[:strings].key?(value.object_id) }
  own.each_value do |value|
    SEEN[:strings][value.object_id] = value
    value << ' touched' unless value.end_with?(' touched') # must never be seen by another request
  end
  again << 'rack.input' if env['rack.input'] && SEEN[:env].key?(env['rack.input'].object_id)
  SEEN[:env][env['rack.input'].object_id] = env['rack.input']
  env['left.behind'] = true
  [200, { 'content-type' => 'text/plain' }, [again.join(',')]]
end)
